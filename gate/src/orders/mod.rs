//! What officers order over recorded content: erasure by order, and legal hold.
//!
//! An order is a row of kind `order` in table `records`, which a sink writes; all times are of when
//! records arrived. Which order and which hold speak of a row is said twice, here and as SQL in
//! `table`.

pub(crate) mod erase;
pub(crate) mod hold;
mod table;

use contract::{Order, OrderKind};

use crate::access::{Access, exact_time, moment};

/// An order, as table `records` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) order: Order,
    pub(crate) officer: String,
    /// When it arrived, in microseconds since 1970.
    pub(crate) received_at: i64,
    pub(crate) sink_id: String,
    pub(crate) sink_seq: u64,
}

impl Recorded {
    /// Whether it speaks of a row of this person that arrived then.
    fn covers(&self, person: &str, issuer: &str, received_at: i64) -> bool {
        let Order {
            person: whose,
            issuer: of,
            from,
            to,
            ..
        } = &self.order;
        whose.as_deref() == Some(person)
            && of.as_ref().is_none_or(|of| of == issuer)
            && from.is_none_or(|from| from <= received_at)
            && to.is_none_or(|to| received_at < to)
    }
}

/// All orders that there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders(Vec<Recorded>);

/// By what right content was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken<'a> {
    /// An order covers it, and no hold did then.
    ByOrder(&'a Recorded),
    /// An order covers it, and so did a hold.
    AgainstHold {
        /// The order.
        order: &'a Recorded,
        /// The hold.
        hold: &'a Recorded,
    },
    /// No order covers it.
    WithoutOrder,
}

impl Orders {
    /// By what right a row of this person that arrived then is without its content.
    pub(crate) fn taken(&self, person: &str, issuer: &str, received_at: i64) -> Taken<'_> {
        let mut taken = Taken::WithoutOrder;
        let covers = |one: &&Recorded| one.covers(person, issuer, received_at);
        for order in self.of(OrderKind::Erase).filter(covers) {
            if received_at >= order.received_at {
                continue; // it came later
            }
            let mut holds = self.of(OrderKind::Hold).filter(covers);
            match holds.find(|hold| self.in_force(hold, order.received_at)) {
                None => return Taken::ByOrder(order),
                Some(hold) => taken = Taken::AgainstHold { order, hold },
            }
        }
        taken
    }

    /// Holds that nobody has released.
    pub(crate) fn holds(&self) -> impl Iterator<Item = &Recorded> {
        let holds = self.of(OrderKind::Hold);
        holds.filter(|hold| self.in_force(hold, i64::MAX))
    }

    /// Whether an erasure was begun under this id, for this person, and nobody said that it was done.
    fn unfinished(&self, id: &str, person: &str, issuer: Option<&str>) -> bool {
        let begun = self.of(OrderKind::Erase).filter(|one| {
            let order = &one.order;
            let whose = (order.person.as_deref(), order.issuer.as_deref());
            order.order == id && whose == (Some(person), issuer)
        });
        let mut done = self
            .of(OrderKind::Erased)
            .filter(|one| one.order.order == id);
        let last = begun.map(|one| one.received_at).max();
        last.is_some_and(|last| !done.any(|one| one.received_at >= last))
    }

    /// Whether a hold was placed by then, and not released since.
    fn in_force(&self, hold: &Recorded, at: i64) -> bool {
        let between = hold.received_at..=at;
        let mut released = self.of(OrderKind::Release);
        hold.received_at <= at
            && !released.any(|one| {
                one.order.order == hold.order.order && between.contains(&one.received_at)
            })
    }

    fn of(&self, kind: OrderKind) -> impl Iterator<Item = &Recorded> {
        self.0.iter().filter(move |one| one.order.kind == kind)
    }
}

impl FromIterator<Recorded> for Orders {
    fn from_iter<I: IntoIterator<Item = Recorded>>(orders: I) -> Self {
        Self(orders.into_iter().collect())
    }
}

/// Where the records are.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    access: Access,
    /// Dataset of table `records`
    #[arg(long, default_value = "copilot_audit")]
    dataset: String,
}

/// Whose content, and of which time.
#[derive(Debug, clap::Args)]
struct Whose {
    /// The person, as in column `person`
    #[arg(long)]
    person: String,
    /// Issuer that vouched for the person; any if not given
    #[arg(long)]
    issuer: Option<String>,
    /// First moment: a date or RFC 3339, in UTC, of when the record arrived; of all if not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<i64>,
    /// One past the last moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<i64>,
}

impl Whose {
    fn order(&self, kind: OrderKind, order: &str, reason: &str) -> Order {
        Order {
            kind,
            order: order.to_owned(),
            person: Some(self.person.clone()),
            issuer: self.issuer.clone(),
            from: self.from,
            to: self.to,
            reason: Some(reason.to_owned()),
            rows: None,
        }
    }
}

/// The time that an order speaks of, in words.
fn span(from: Option<i64>, to: Option<i64>) -> String {
    let moment = |at: Option<i64>, none: &str| at.map_or(none.to_owned(), exact_time);
    format!(
        "from {} to {}",
        moment(from, "the beginning"),
        moment(to, "the end")
    )
}

/// Name of the environment variable with the token for the sink.
const TOKEN: &str = "GATE_OFFICER_TOKEN";

#[cfg(test)]
mod tests;
