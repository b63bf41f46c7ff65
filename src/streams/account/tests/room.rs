//! The model's part about room: under which limits, and who gives way.

use super::model::{Asked, Full, Model, Row, Rules, device};
use super::*;

impl Model {
    /// The limits that a stream of `classes` has to keep: the place of each class, None for the total, and its limit. What
    /// plays already has its place under those that hold for it.
    pub fn limits(&self, rules: &Rules, key: &str, classes: &[String]) -> Vec<(Option<usize>, usize)> {
        let row = self.streams.iter().find(|row| row.key == key && row.paused.is_none());
        let of_classes = rules.class_limits.iter().enumerate();
        let of_classes = of_classes.filter(|(_, (class, _))| {
            classes.iter().any(|word| word == class) && !row.is_some_and(|row| carries(row, class))
        });
        let total = [(None, rules.limit)].into_iter().filter(|_| row.is_none());
        total.chain(of_classes.map(|(at, (_, limit))| (Some(at), *limit))).collect()
    }

    /// The limits among these that one stream more than `others` would break, and how many of them have to end first.
    pub fn broken(rules: &Rules, limits: &[(Option<usize>, usize)], others: &[&Row]) -> Vec<Full> {
        let counted = |at: Option<usize>| others.iter().filter(|row| counts(rules, at, row)).count();
        let over = limits.iter().map(|&(at, limit)| (at, (counted(at) + 1).saturating_sub(limit)));
        over.filter(|(_, over)| *over > 0).collect()
    }

    /// Who gives way to a stream that wants to play beside `others`, and the first limit that is only reported.
    pub fn room(
        rules: &Rules,
        limits: &[(Option<usize>, usize)],
        yields: &str,
        others: &[&Row],
    ) -> Result<(Vec<String>, Option<Full>), Full> {
        let limits_kept: Vec<_> = limits
            .iter()
            .map(|&(at, limit)| (at, if yields == "report" && limit > 0 { MAX_PLAYING } else { limit }))
            .collect();
        let (mut stay, mut leave) = (others.to_vec(), Vec::new());
        loop {
            let broken = Self::broken(rules, &limits_kept, &stay);
            let Some(_) = broken.first() else { break };
            let helps = |row: &&&Row| broken.iter().any(|(at, _)| counts(rules, *at, row));
            let may = |row: &&&Row| match yields.split_once(':') {
                Some(("named", key)) => row.key == key,
                Some((_, of)) => device(&row.key) == Some(of),
                None => yields == "oldest",
            };
            let Some(leaves) = stay.iter().filter(may).find(helps).map(|row| row.key.clone()) else {
                return Err(Self::broken(rules, &limits_kept, others)[0]);
            };
            stay.retain(|row| row.key != leaves);
            leave.push(leaves);
        }
        let reported = Self::broken(rules, limits, others).first().copied();
        Ok((
            leave,
            reported
                .filter(|(at, _)| yields == "report" && limits.iter().any(|row| row.0 == *at && row.1 > 0)),
        ))
    }

    /// Who gives way: whom the command names, else the policy. Where nobody counts for a while its own device does, before the
    /// policy and after whom it names.
    pub fn yields(rules: &Rules, asked: &Asked, helps: impl Fn(&str) -> bool) -> String {
        let own = device(&asked.key).filter(|_| rules.adopts_until.is_none());
        let own = own.map(|own| format!("device:{own}"));
        let said = match (&asked.over, rules.when_full) {
            (Some(over), _) if over != "oldest" => format!("named:{over}"),
            (Some(_), _) | (None, WhenFull::ReplaceOldest) => "oldest".into(),
            (None, WhenFull::Report) if rules.reports() => "report".into(),
            _ => "none".into(),
        };
        match own {
            Some(own) if helps(&own) && !(asked.over.is_some() && helps(&said)) => own,
            _ => said,
        }
    }
}

fn carries(row: &Row, class: &str) -> bool {
    row.classes.iter().any(|word| word == class)
}

/// Whether a limit, that of a class or of all, counts this stream.
pub fn counts(rules: &Rules, class: Option<usize>, row: &Row) -> bool {
    class.is_none_or(|at| carries(row, rules.class_limits[at].0))
}
