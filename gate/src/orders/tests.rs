use super::*;

/// An order about ana of any issuer, ever.
fn at(received_at: i64, kind: OrderKind, id: &str) -> Recorded {
    let is_about = matches!(kind, OrderKind::Erase | OrderKind::Hold);
    Recorded {
        order: Order {
            kind,
            order: id.into(),
            person: is_about.then(|| "ana".into()),
            issuer: None,
            from: None,
            to: None,
            reason: None,
            rows: None,
        },
        officer: "dpo".into(),
        received_at,
        sink_id: "s".into(),
        sink_seq: 0,
    }
}

fn change(mut one: Recorded, change: impl FnOnce(&mut Order)) -> Recorded {
    change(&mut one.order);
    one
}

/// What is said of a row of ana that arrived at 50.
fn said(orders: &[Recorded]) -> (&'static str, String) {
    let orders: Orders = orders.iter().cloned().collect();
    match orders.taken("ana", "i", 50) {
        Taken::ByOrder(order) => ("order", order.order.order.clone()),
        Taken::AgainstHold { hold, .. } => ("hold", hold.order.order.clone()),
        Taken::WithoutOrder => ("nothing", String::new()),
    }
}

#[test]
fn an_erasure_covers_a_person_an_issuer_and_a_time_before_it() {
    let erase = |at_: i64| at(at_, OrderKind::Erase, "E");
    let cases = [
        ("later than the row", erase(100), "order"),
        ("earlier than the row", erase(40), "nothing"),
        ("of the same moment", erase(50), "nothing"),
        (
            "somebody else",
            change(erase(100), |order| order.person = Some("bo".into())),
            "nothing",
        ),
        (
            "the issuer",
            change(erase(100), |order| order.issuer = Some("i".into())),
            "order",
        ),
        (
            "another issuer",
            change(erase(100), |order| order.issuer = Some("j".into())),
            "nothing",
        ),
        (
            "from then on",
            change(erase(100), |order| order.from = Some(50)),
            "order",
        ),
        (
            "from later",
            change(erase(100), |order| order.from = Some(51)),
            "nothing",
        ),
        (
            "up to then",
            change(erase(100), |order| order.to = Some(50)),
            "nothing",
        ),
        (
            "up to later",
            change(erase(100), |order| order.to = Some(51)),
            "order",
        ),
        ("a hold", at(100, OrderKind::Hold, "E"), "nothing"),
        (
            "a word that it was done",
            at(100, OrderKind::Erased, "E"),
            "nothing",
        ),
    ];
    for (name, order, expected) in cases {
        assert_eq!(said(&[order]).0, expected, "{name}");
    }
}

#[test]
fn a_hold_is_stronger_while_it_is_in_force() {
    use OrderKind::{Erase, Hold, Release};
    let erase = at(100, Erase, "E");
    let cases = [
        ("before", vec![at(90, Hold, "H")], "hold"),
        (
            "for another time",
            vec![change(at(90, Hold, "H"), |order| order.to = Some(50))],
            "order",
        ),
        ("after", vec![at(110, Hold, "H")], "order"),
        (
            "released before",
            vec![at(80, Hold, "H"), at(90, Release, "H")],
            "order",
        ),
        (
            "released after",
            vec![at(80, Hold, "H"), at(110, Release, "H")],
            "hold",
        ),
        (
            "another released",
            vec![at(80, Hold, "H"), at(90, Release, "I")],
            "hold",
        ),
        (
            "placed again",
            vec![at(80, Hold, "H"), at(85, Release, "H"), at(90, Hold, "H")],
            "hold",
        ),
        (
            "erased again without",
            vec![
                at(80, Hold, "H"),
                at(110, Release, "H"),
                at(120, Erase, "E"),
            ],
            "order",
        ),
    ];
    for (name, mut orders, expected) in cases {
        orders.push(erase.clone());
        assert_eq!(said(&orders).0, expected, "{name}");
    }
}

#[test]
fn holds_end_and_erasures_are_finished_by_their_ids() {
    use OrderKind::{Erase, Erased, Hold, Release};
    let orders = |orders: &[Recorded]| orders.iter().cloned().collect::<Orders>();
    let held = orders(&[
        at(1, Hold, "H"),
        at(2, Hold, "H"),
        at(3, Hold, "I"),
        at(4, Release, "H"),
    ]);
    let ids: Vec<&str> = held.holds().map(|one| one.order.order.as_str()).collect();
    assert_eq!(ids, ["I"]);
    let unfinished = |list: &[Recorded]| orders(list).unfinished("E", "ana", None);
    assert!(!unfinished(&[]));
    assert!(unfinished(&[at(1, Erase, "E")]));
    assert!(unfinished(&[at(1, Erase, "E"), at(2, Erased, "F")]));
    assert!(!unfinished(&[at(1, Erase, "E"), at(2, Erased, "E")]));
    assert!(unfinished(&[
        at(1, Erase, "E"),
        at(2, Erased, "E"),
        at(3, Erase, "E")
    ]));
}
