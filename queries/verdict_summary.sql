-- Do reviewers agree, and how many of the labels that label_suspects lists first are wrong?
--
-- what: person has a row per person, with the images judged and how many of their labels are called wrong. agreement has
-- one per pair of persons who judged the same images, with how many got the same verdict from both, and Cohen's kappa
-- (1960): 1 is full agreement, 0 what two people who give each verdict as often as these do would reach by chance.
-- agreement of all is Krippendorff's alpha (2004, nominal), the counterpart for any number of persons, over all images
-- judged by two persons or more; there n_hits counts the images with one verdict. Which class a label should be is not
-- compared.
-- suspects has the images of kind suspect in label_suspects, and first its first 10, 20, 50, 100, 200, 500 and 1000
-- rows: of the images with a verdict, how many labels all who judged the image call wrong. n_open images have no verdict,
-- are disputed, unclear or not usable, and do not count. share is thus the precision of the rows so far, with an interval
-- for a random part of them: if people judged the most doubtful first, the rest may be wrong less often. Verdicts of other
-- runs count too, in the order of this run. Without verdicts there are no rows.
--
-- params:
--   run_id        training run to look at
--   split         split to look at; for train_seen, verdicts on the images of train count [test]
-- returns:
--   what          person, agreement, agreement of all, first or suspects
--   who           person; null where the row is about all
--   other_who     the other person of a pair
--   first_rows    rows of label_suspects that the row is about, from the first on
--   n             images that count
--   n_hits        of these: labels called wrong; images with the same verdict; labels that are wrong
--   share         n_hits / n, 0..1
--   share_low     lower end of its 95 % interval (Wilson 1927); null for a person
--   share_high    upper end
--   kappa         Cohen's kappa of a pair, Krippendorff's alpha of all, at most 1; null if all verdicts are the same
--   n_open        images among the rows that do not count
with given as (
    select
        instance_id,
        who,
        verdict
    from current_verdicts($run_id)
    where split = images_of($split)
),
people as (
    select
        who,
        count(*) as n,
        count(*) filter (verdict = 'label_wrong') as n_hits
    from given
    group by who
),
pairs as (
    select
        here.who,
        other.who as other_who,
        here.verdict,
        other.verdict as other_verdict
    from given as here
    join given as other
        on other.instance_id = here.instance_id
        and other.who > here.who
),
agreements as (
    select
        who,
        other_who,
        count(*) as n,
        count(*) filter (verdict = other_verdict) as n_hits
    from pairs
    group by
        who,
        other_who
),
word_counts as (  -- of each person of a pair
    select
        who,
        other_who,
        word,
        count(*) filter (word = verdict) as n_here,
        count(*) filter (word = other_verdict) as n_other
    from pairs
    cross join (select distinct verdict as word from given)
    group by
        who,
        other_who,
        word
),
chances as (  -- sum over verdicts of n_here * n_other
    select
        who,
        other_who,
        sum(n_here * n_other) as by_chance
    from word_counts
    group by
        who,
        other_who
),
votes as (
    select
        instance_id,
        verdict,
        count(*) as n_same,
        sum(count(*)) over (partition by instance_id) as n_votes
    from given
    group by
        instance_id,
        verdict
    qualify n_votes > 1
),
images_of_all as (
    select
        n_votes,
        sum(n_same ** 2) as same_pairs
    from votes
    group by
        instance_id,
        n_votes
),
totals as (  -- n_votes, and that times the disagreement observed
    select
        count(*) as n,
        count(*) filter (same_pairs = n_votes ** 2) as n_hits,
        sum(n_votes) as total,
        sum((n_votes ** 2 - same_pairs) / (n_votes - 1)) as observed
    from images_of_all
),
expected as (  -- pairs of different verdicts if they were dealt out by chance
    select sum(n_words) ** 2 - sum(n_words ** 2) as different_pairs
    from (
        select sum(n_same) as n_words
        from votes
        group by verdict
    )
),
ranked as (
    select
        doubts.kind,
        judged.verdict,
        row_number() over (
            order by
                round(doubts.aum, 6) nulls last,
                round(doubts.score, 6) desc,
                doubts.instance_id
        ) as place
    from label_risks($run_id, $split, null, null) as doubts
    left join judged_images($run_id) as judged
        on judged.split = images_of($split)
        and judged.instance_id = doubts.instance_id
),
parts as (
    select
        'first' as what,
        first_rows,
        verdict
    from ranked
    join (select unnest([10, 20, 50, 100, 200, 500, 1000]) as first_rows) as sizes on place <= first_rows
    union all
    select
        'suspects' as what,
        count(*) over () as first_rows,
        verdict
    from ranked
    where kind = 'suspect'
),
precisions as (
    select
        what,
        count(*) as first_rows,
        count(*) filter (verdict in ('label_ok', 'label_wrong')) as n,
        count(*) filter (verdict = 'label_wrong') as n_hits,
        count(*) filter (verdict is null or verdict not in ('label_ok', 'label_wrong')) as n_open
    from parts
    group by
        what,
        parts.first_rows
    having n > 0
    qualify row_number() over (partition by what, count(*) order by parts.first_rows) = 1  -- there may be fewer rows
),
rows_of_all as (
    select
        'person' as what,
        who,
        null as other_who,
        null as first_rows,
        n,
        n_hits,
        null as kappa,
        null as n_open
    from people
    union all
    select
        'agreement',
        who,
        other_who,
        null,
        n,
        n_hits,
        (n_hits / n - by_chance / n ** 2) / nullif(1 - by_chance / n ** 2, 0),
        null
    from agreements
    join chances using (who, other_who)
    union all
    select
        'agreement of all',
        null,
        null,
        null,
        n,
        n_hits,
        1 - (total - 1) * observed / nullif(different_pairs, 0),
        null
    from totals
    cross join expected
    where n > 0
    union all
    select
        what,
        null,
        null,
        first_rows,
        n,
        n_hits,
        null,
        n_open
    from precisions
)
select
    what,
    who,
    other_who,
    first_rows,
    n,
    n_hits,
    n_hits / n as share,
    case when what <> 'person' then wilson_low(n_hits / n, n) end as share_low,
    case when what <> 'person' then wilson_high(n_hits / n, n) end as share_high,
    round(kappa, 9) as kappa,
    n_open
from rows_of_all
order by
    array_position(['person', 'agreement', 'agreement of all', 'first', 'suspects'], what),
    who,
    other_who,
    first_rows
