//! Numbers that no service could be told, and times that no clock could count.

use std::time::Duration;

use claude_code_api_client::{Batch, Client, Error, ErrorKind, Request, blocking};

fn nobody() -> blocking::Client {
    let builder = Client::builder().base_url("http://127.0.0.1:1").max_retries(1).max_retry_after(Duration::MAX);
    builder.timeout(Duration::MAX).build_blocking().expect("a client")
}

#[test]
fn a_limit_that_is_no_number_is_refused_and_not_left_out() {
    let refused = |error: Error, name: &str| {
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    };
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for (name, request) in [
            ("max_cost", Request::new("Hi").max_cost(number)),
            ("temperature", Request::new("Hi").temperature(number)),
            ("top_p", Request::new("Hi").top_p(number)),
        ] {
            refused(nobody().stream(request.clone()).expect_err("no number"), name);
            refused(nobody().complete(request).expect_err("no number"), name);
        }
        refused(nobody().batch(Batch::new(["Hi"]).max_cost(number)).expect_err("no number"), "max_cost");
    }
}

#[test]
fn the_longest_of_times_is_as_long_as_it_takes() {
    let patient = || Request::new("Hi").timeout(Duration::MAX).total_timeout(Duration::MAX);
    let batch = Batch::new(["Hi"]).timeout(Duration::MAX).silence_timeout(Duration::MAX);
    let errors = [
        nobody().complete("Hi").err(),
        nobody().complete(patient()).err(),
        nobody().stream(patient()).err(),
        nobody().batch(batch).err(),
    ];
    assert!(errors.iter().flatten().all(Error::is_connection) && errors.iter().flatten().count() == 4, "{errors:?}");
}
