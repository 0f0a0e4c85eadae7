-- Internal, for the InstanceFlow page: what reviewers say of its images.
--
-- params:
--   run_id          training run
--   splits          split of each image of the page
--   instance_ids    row number of each in its split
-- returns:
--   row             place of the image on the page
--   who             person who judged
--   verdict         label_ok, label_wrong, unclear or not_usable
--   new_label_name  class that the person says it should have; null if none is named
--   note            what the person adds
with page_images as (
    select
        images_of(unnest($splits::varchar[])) as split,
        unnest($instance_ids::integer[]) as instance_id,
        unnest(range(len($splits::varchar[]))) as row
)
select
    page_images.row,
    given.who,
    given.verdict,
    given.new_label_name,
    given.note
from current_verdicts($run_id) as given
join page_images using (split, instance_id)
order by
    page_images.row,
    given.who
