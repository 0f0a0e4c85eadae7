-- Which images carry the patch that decides a class, and what are they predicted as without it?
--
-- `study compare` pastes each image's pixels at the place of the patch (see shortcuts) into images that are predicted
-- otherwise, those that follow the class's training images most. An image carries the patch if more than two thirds of
-- them are then predicted as the class, and lacks it if fewer than a third are; in between it is not known, as where
-- several appearances decide, each a little. Nothing is assumed about how the patch looks. Classes are those whose patch is
-- followed 30 points more often than its controls, which is not yet a shortcut: shortcuts says whether one is found. At
-- most 1000 images that are of the class or predicted as it are tested, and at most 1000 others, drawn at random. Uses the
-- same comparison as shortcuts.
--
-- params:
--   run_id                  training run to look at
--   split                   split to look at [test]
--   class_id                class whose patch it is [null: all]
--   limit                   rows [null: all]
-- returns:
--   class_id                class that the patch decides
--   class_name              its name
--   instance_id             image
--   carries                 whether it carries the patch; null where that is not known
--   label                   class_id of the image's label
--   label_name              its name
--   predicted               class_id predicted of the image
--   predicted_name          its name
--   n_pasted                images that its pixels are pasted into
--   n_following             those of them that are then predicted as the class
--   predicted_covered       class_id predicted with the patch covered by pixels of other classes' images
--   predicted_covered_name  its name
select
    tried.class_id,
    of_class.name as class_name,
    tried.instance_id,
    case
        when 3 * tried.n_following > 2 * tried.n_pasted then true
        when 3 * tried.n_following < tried.n_pasted then false
    end as carries,
    known.label,
    of_label.name as label_name,
    known.predicted,
    of_predicted.name as predicted_name,
    tried.n_pasted,
    tried.n_following,
    tried.predicted_covered,
    of_covered.name as predicted_covered_name
from patch_carriers as tried
join shortcut_comparison($run_id) using (run_id)
join labelled_predictions($run_id, $split) as known
    on known.epoch = tried.epoch
    and known.instance_id = tried.instance_id
left join class_names($run_id) as of_class
    on of_class.class_id = tried.class_id
left join class_names($run_id) as of_label
    on of_label.class_id = known.label
left join class_names($run_id) as of_predicted
    on of_predicted.class_id = known.predicted
left join class_names($run_id) as of_covered
    on of_covered.class_id = tried.predicted_covered
where
    tried.source_run_id = $run_id
    and tried.split = $split
    and tried.class_id = coalesce($class_id::integer, tried.class_id)
order by
    tried.class_id,
    carries desc nulls last,
    known.predicted = tried.class_id desc,
    known.label = tried.class_id,  -- those misclassified as the class first
    tried.instance_id
limit $limit::integer
