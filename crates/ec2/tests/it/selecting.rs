//! Filters and pages.

use crate::samples;
use novanet_ec2::page::Page;
use novanet_ec2::response::DescribedInstances;
use novanet_ec2::{Code, Filter, filter};

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter {
        name: name.into(),
        values: values.iter().map(ToString::to_string).collect(),
    }
}

/// The ids of the sample's instances that pass.
fn passing(filters: &[Filter]) -> Vec<String> {
    let mut answer = DescribedInstances {
        reservations: vec![samples::reservation()],
        next_token: None,
    };
    answer.retain(filters).unwrap();
    answer
        .reservations
        .iter()
        .flat_map(|reservation| &reservation.instances)
        .map(|instance| instance.id.to_string())
        .collect()
}

#[test]
fn one_value_of_every_filter_has_to_fit() {
    let both = ["i-0000000a", "i-0000000b"];
    assert_eq!(passing(&[]), both);
    let state = filter("instance-state-name", &["running", "stopped"]);
    assert_eq!(passing(std::slice::from_ref(&state)), ["i-0000000a"]);
    assert_eq!(passing(&[filter("reservation-id", &["r-*7"])]), both);
    assert_eq!(
        passing(&[state.clone(), filter("key-name", &["my???"])]),
        ["i-0000000a"]
    );
    assert_eq!(passing(&[state, filter("key-name", &["other"])]), [""; 0]);
    assert_eq!(passing(&[filter("group-name", &["default"])]), both);
    assert_eq!(passing(&[filter("ip-address", &["*"])]), ["i-0000000a"]);
    assert_eq!(passing(&[filter("ip-address", &[])]), [""; 0]);
}

#[test]
fn a_filter_that_nobody_knows_is_refused_even_when_there_is_nothing_to_filter() {
    let unknown = [filter("colour", &["red"])];
    let error = DescribedInstances::default().retain(&unknown).unwrap_err();
    assert_eq!(error.code, Code::InvalidParameterValue);
    assert!(error.message.contains("colour"), "{error}");
    let error = filter::retain(&unknown, &mut samples::addresses()).unwrap_err();
    assert_eq!(error.code, Code::InvalidParameterValue);
}

#[test]
fn every_name_that_filters_may_have_leads_to_a_value() {
    fn check<T: filter::Filterable>(full: &T) {
        for name in T::NAMES {
            assert!(!full.values(name).is_empty(), "{name}");
        }
        assert!(full.values("colour").is_empty());
    }
    let mut instance = samples::running();
    instance.client_token = Some("token".into());
    check(&instance);
    check(&samples::statuses()[0]);
    check(&samples::image());
    check(&samples::group());
    check(&samples::addresses()[0]);
    check(&&novanet_model::instance_type::INSTANCE_TYPES[0]);
}

#[test]
fn pages_neither_repeat_nor_lose_an_entry_while_others_come_and_go() {
    let page = |after| Page {
        max: Some(2),
        after,
    };
    let mut first = vec![5, 1, 3, 9];
    let token = page(None).take(&mut first, |n| *n).unwrap();
    assert_eq!((first, token.as_str()), (vec![1, 3], "after-3"));
    // 3 goes and 4 comes before the next page is asked for.
    let mut second = vec![5, 1, 9, 4];
    let token = page(Some(3)).take(&mut second, |n| *n).unwrap();
    assert_eq!((second, token.as_str()), (vec![4, 5], "after-5"));
    let mut last = vec![5, 1, 9, 4];
    assert_eq!(page(Some(5)).take(&mut last, |n| *n), None);
    assert_eq!(last, [9]);
}
