-- The tables of study.duckdb. They are an index: `study rebuild` makes them again from the runs' files.
-- One line per column: meaning, unit, range. A run is an MLflow run; `run_id` is its ID in every table.

create table runs (
    run_id varchar primary key,  -- MLflow run ID
    kind varchar not null,  -- train, import, explain, compare, report, improve
    name varchar not null,  -- run name as shown in MLflow
    source_run_id varchar,  -- training run that it is about, or continues (improve); null for others that train
    status varchar not null,  -- RUNNING, FINISHED, FAILED, KILLED
    dataset varchar,  -- name of the data set
    data_digest varchar,  -- sha256 over every image, label and class name of the data set
    seed bigint,  -- seed from which all randomness of the run derives
    seed_group varchar,  -- name of the group of runs that share a recipe but for the seed; null if it is in none
    git_commit varchar,  -- commit of the program that made the run; ends in -dirty with uncommitted changes
    started_at timestamp not null,  -- when it was started, UTC
    finished_at timestamp,  -- UTC; null while it runs
    params json not null  -- the run's settings, as in its config.json
);

create table metrics (
    run_id varchar not null,  -- run that measured it
    epoch integer not null,  -- epoch it belongs to, 0 is the network before training
    key varchar not null,  -- name, as in MLflow, which shows some ten of a run's
    value double not null  -- accuracies 0..1, losses in nats, durations in seconds
);

create table classes (
    run_id varchar not null,  -- training run
    class_id integer not null,  -- 0..number of classes - 1
    name varchar not null  -- class name as the data set gives it
);

create table instances (
    run_id varchar not null,  -- training run
    split varchar not null,  -- train, val, test or extra:NAME
    instance_id integer not null,  -- row number of the image in its split, from 0
    label integer,  -- true class_id; null when unknown
    source varchar not null,  -- where the image lies in the data set: a file, or an original row such as train/00042
    name varchar,  -- what an imported log calls the instance; null otherwise
    content varchar  -- first 16 hexadecimal digits of the sha256 of its pixels; null in logs and runs of earlier versions
);

-- study.duckdb leaves probabilities, top_classes and top_probabilities in the runs' files: they are in its views
-- full_predictions and predictions_live. `study sql` and Python have them in predictions too. Rows of train_seen and of
-- imported logs have none. Of the instances of train, train_seen has what the network said of them while it was trained on
-- them, augmented and with dropout; train_folds what models said that were trained on the other folds of train alone.
create table predictions (
    run_id varchar not null,  -- training run
    epoch integer not null,  -- 0 is the network before training, 1..N the state after each pass
    split varchar not null,  -- val, test, extra:NAME: evaluated after the epoch; train_seen, train_folds: see above
    instance_id integer not null,  -- instance in the split; train_seen and train_folds speak of those of train
    label integer,  -- true class_id; null when unknown; of train_seen, the one trained with, as in label_changes
    predicted integer not null,  -- class_id of the largest logit, the lowest one at a tie
    p_true real,  -- softmax probability of label, 0..1; null without a label and in an imported log
    p_predicted real,  -- softmax probability of predicted, 0..1; null in an imported log
    margin real,  -- logit of label minus largest other logit; positive if correct; null like p_true
    p_sq real,  -- sum of squared probabilities, 1 / number of classes to 1; null in an imported log
    probabilities real[],  -- softmax probability of every class in class_id order; null unless the run keeps all of them
    top_classes integer[],  -- class_ids of the likeliest classes, likeliest first; null unless the run keeps these alone
    top_probabilities real[],  -- softmax probabilities of top_classes, in their order; null like them
    previous_epoch integer,  -- last epoch before this one with a prediction of the same instance; null at its first
    previous integer  -- class_id predicted then; null at its first
);

create table verdicts (
    run_id varchar not null,  -- training run or imported log whose image was judged
    split varchar not null,  -- train, val, test or extra:NAME, as in table instances
    instance_id integer not null,  -- image judged
    label integer,  -- its class_id in the data set when it was judged; null when unknown
    source varchar not null,  -- as in table instances
    content varchar,  -- as in table instances: by it, verdicts apply to other runs on the same images
    verdict varchar not null,  -- label_ok, label_wrong, unclear, not_usable, or withdrawn: the person's earlier one is void
    new_label integer,  -- class_id that it should have; null unless label_wrong, or if the person names none
    who varchar not null,  -- person who judged
    note varchar,  -- what the person adds; null if nothing
    given_at timestamp not null  -- when it was recorded, UTC; a person's latest verdict on an image counts
);

create table label_changes (
    run_id varchar not null,  -- training run that verdicts changed the labels of
    instance_id integer not null,  -- image of split train
    label integer not null,  -- class_id in the data set
    new_label integer  -- class_id that it was trained with instead; null: it was left out of training
);

create table improvement_targets (
    run_id varchar not null,  -- improve run
    instance_id integer not null,  -- training image, row number in split train
    weight double not null,  -- how often an epoch sees it again, relative to the others
    reasons varchar not null,  -- why, with commas between them
    confused_with integer  -- class_id of the images that it may be mixed with; null: of any
);

create table attributions (
    run_id varchar not null,  -- explainer run
    source_run_id varchar not null,  -- training run whose checkpoint is explained
    epoch integer not null,  -- epoch of the checkpoint
    method varchar not null,  -- explanation method, a key of xai.METHODS
    split varchar not null,  -- split of the instance
    instance_id integer not null,  -- instance explained
    target integer not null,  -- class_id whose score is explained
    target_kind varchar not null,  -- predicted, label or class: how the target was chosen
    score real not null,  -- logit of the target class
    baseline_score real,  -- logit of the target on the method's baseline; null without a baseline
    delta real,  -- completeness gap: sum of the map minus (score - baseline_score); null without a baseline
    map8 real[64] not null,  -- the map area-averaged to 8x8, row by row
    sampled boolean  -- whether the image belongs to a random sample; false: chosen by ID or condition; null: unknown
);

create table attribution_scores (
    run_id varchar not null,  -- comparing run
    source_run_id varchar not null,  -- training run whose checkpoint is explained
    epoch integer not null,  -- epoch of the checkpoint
    method varchar not null,  -- explanation method, or a reference such as random
    split varchar not null,  -- split of the instance
    instance_id integer not null,  -- instance explained
    metric varchar not null,  -- faithfulness metric
    value double not null  -- its value; range as the metric defines it
);

create table map_clusters (
    run_id varchar not null,  -- comparing run
    source_run_id varchar not null,  -- training run whose checkpoint is explained
    epoch integer not null,  -- epoch of the checkpoint
    method varchar not null,  -- explanation method
    split varchar not null,  -- split of the instance
    target_kind varchar not null,  -- predicted or label: how the class explained was chosen
    class_id integer not null,  -- class explained, whose maps are clustered
    cluster integer not null,  -- 0..number of clusters of the class's maps - 1, the largest first
    instance_id integer not null  -- instance whose map is in the cluster
);

create table patch_trials (
    run_id varchar not null,  -- comparing run
    source_run_id varchar not null,  -- training run whose checkpoint is tried
    epoch integer not null,  -- epoch of the checkpoint
    class_id integer not null,  -- class whose patch is tried
    trial varchar not null,  -- pasted, pasted_elsewhere, pasted_from_others, covered or covered_elsewhere
    split varchar not null,  -- split of the image altered
    instance_id integer not null,  -- image altered
    donor_id integer not null,  -- training image whose pixels replace the patch
    donor_class integer not null,  -- class_id of that image
    patch_top integer not null,  -- the patch's first row, in eighths of the image's height, 0..7
    patch_left integer not null,  -- its first column, in eighths of the image's width, 0..7
    patch_side integer not null,  -- its side, in eighths of the image's height and width, 1..4
    predicted_before integer not null,  -- class_id predicted of the image as it is
    predicted_after integer not null  -- class_id predicted of the altered image
);

create table patch_carriers (
    run_id varchar not null,  -- comparing run
    source_run_id varchar not null,  -- training run whose checkpoint is tried
    epoch integer not null,  -- epoch of the checkpoint
    class_id integer not null,  -- class whose patch is looked for, at the place of its patch_trials
    split varchar not null,  -- split of the image
    instance_id integer not null,  -- image that may carry the patch
    n_pasted integer not null,  -- images of other classes that its pixels at that place are pasted into
    n_following integer not null,  -- those of them that are then predicted as the class, 0..n_pasted
    predicted_covered integer not null  -- class_id predicted of the image with the patch covered by other classes' pixels
);

create table concepts (
    run_id varchar not null,  -- explainer run
    source_run_id varchar not null,  -- training run whose checkpoint is explained
    epoch integer not null,  -- epoch of the checkpoint
    layer varchar not null,  -- layer whose activations were factorized
    concept_id integer not null,  -- 0..number of concepts - 1, the one with most energy first
    concept_key varchar not null,  -- hash of the direction
    vector real[] not null,  -- unit direction in the layer's channels, non-negative
    threshold real not null,  -- score from which the concept counts as present (Otsu's split of the fitting set)
    stability real,  -- mean cosine with its like in fits to other images, at most 1; stable from 0.9; null: unknown
    label varchar,  -- the user's name for it, the latest one given; null if there is none
    description varchar not null  -- plain description made from the data
);

create table concept_labels (
    run_id varchar not null,  -- explainer run
    epoch integer not null,  -- epoch of the concept
    concept_id integer not null,  -- concept of the same run and epoch
    concept_key varchar not null,  -- hash of its direction
    layer varchar not null,  -- layer it was found in
    vector real[] not null,  -- its direction, by which a later run recognizes the concept
    label varchar not null,  -- the name a user gave it
    labelled_at timestamp not null  -- when, UTC
);

create table concept_scores (
    run_id varchar not null,  -- explainer run
    epoch integer not null,  -- epoch of the concept
    split varchar not null,  -- split of the instance, held out from fitting
    instance_id integer not null,  -- instance scored
    concept_id integer not null,  -- concept of the same run and epoch
    score real not null,  -- spatial mean of the concept's coefficients, 0 or more
    present boolean not null  -- whether score reaches the concept's threshold
);

create table tcav_scores (
    run_id varchar not null,  -- explainer run
    epoch integer not null,  -- epoch of the concept
    concept_id integer not null,  -- concept of the same run and epoch
    class_id integer not null,  -- class whose logit is tested, on its own held-out images; classes without any have no row
    prevalence real not null,  -- fraction of the class's images with the concept present, 0..1
    tcav_sign real not null,  -- fraction of the class's images with a positive directional derivative, 0..1
    tcav_magnitude real not null,  -- mean directional derivative of the logit, logits per unit of score
    contribution real not null,  -- mean part of the logit the concept carries, in logits
    p_value real not null,  -- of alignment against directions without meaning, family-wise over the run's rows, 0..1
    significant boolean not null,  -- whether p_value is under 0.05
    alignment real  -- cosine of the direction with the class's mean gradient, -1..1; null in runs that tested tcav_sign
);
