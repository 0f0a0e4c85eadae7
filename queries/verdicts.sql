-- What do reviewers say about the images and their labels?
--
-- The latest verdict of each person on each image, given on this run or on any other that has the image with the same
-- label: macro verdicts_on has the rule. As CSV, the answer is a file that `study verdict` takes.
-- verdict: label_ok; label_wrong; unclear, if the person cannot tell; not_usable, if the image should not be used at all.
--
-- params:
--   run_id         training run to look at
--   split          split to look at [null: all]
-- returns:
--   split          split of the image
--   instance_id    image, row number in its split
--   label_name     its class as the data set has it
--   verdict        label_ok, label_wrong, unclear or not_usable
--   new_label      name of the class that the person says it should have; null if none is named
--   who            person who judged
--   note           what the person adds
--   all_people     verdict that all who judged the image give, or disputed
--   source         where the image lies in the data set
--   given_at       when, UTC
--   given_in       run that the verdict was given on
select
    given.split,
    given.instance_id,
    given.label_name,
    given.verdict,
    given.new_label_name as new_label,
    given.who,
    given.note,
    judged.verdict as all_people,
    instances.source,
    given.given_at,
    given.given_in
from current_verdicts($run_id) as given
join judged_images($run_id) as judged using (split, instance_id)
join instances
    on instances.run_id = $run_id
    and instances.split = given.split
    and instances.instance_id = given.instance_id
where given.split = coalesce(images_of($split), given.split)
order by
    given.split,
    given.instance_id,
    given.who
