//! Verdicts as JUnit's XML, which every CI shows: a suite a scenario, a case a check.

use std::fmt::Write as _;

use super::super::simulate::report::failure;
use super::report::Outcome;

/// The file.
pub(super) fn xml(outcomes: &[Outcome<'_>]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"flyball chaos\">\n".to_owned();
    outcomes.iter().for_each(|outcome| suite(&mut text, outcome));
    text + "</testsuites>\n"
}

fn suite(text: &mut String, outcome: &Outcome<'_>) {
    let (name, seconds) = (escape(outcome.plan.name()), outcome.ran.took.as_secs_f64());
    let failed = outcome.judged.iter().filter(|judged| !judged.pass).count();
    let cases = outcome.judged.len().max(1);
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" tests=\"{cases}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">"
    );
    if outcome.judged.is_empty() {
        let _ = writeln!(text, "    <testcase classname=\"{name}\" name=\"runs\" time=\"{seconds:.3}\"/>");
    }
    for judged in &outcome.judged {
        let check = escape(&judged.check.metric);
        let _ = write!(text, "    <testcase classname=\"{name}\" name=\"{check}\" time=\"{seconds:.3}\"");
        let _ = match judged.pass {
            true => writeln!(text, "/>"),
            false => writeln!(text, "><failure message=\"{}\"/></testcase>", escape(&failure(judged))),
        };
    }
    text.push_str("  </testsuite>\n");
}

/// XML 1.0, section 2.4. Names and figures hold nothing else that it forbids.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chaos::{Ran, World};
    use crate::simulate::metrics::Measured;
    use crate::simulate::scenario::Check;
    use crate::simulate::verdict::Judged;

    #[test]
    fn a_check_that_failed_is_a_failure_with_its_figure() {
        let text = "duration: 1m\nfleet: {carriers: [{name: a, devices: 1, timeout: 3s}]}";
        let file = crate::document::SourceFile { path: "s.yaml".into(), text: text.to_owned() };
        let scenario = crate::scenario::load::parse(&file.into(), None).expect("valid");
        let plan = World::of(&scenario).expect("fits");
        let check = |min| Check { metric: "coverage".to_owned(), min: Some(min), max: None };
        let judged = [(0.9, true), (0.99, false)].map(|(min, pass)| Judged { check: check(min), value: 0.95, pass });
        let measured = Measured { names: &[], values: Vec::new(), ratios: Vec::new() };
        let ran = Ran { measured, took: Duration::from_millis(1_500), beside: String::new() };
        let xml = xml(&[Outcome { plan: &plan, ran, judged: judged.to_vec() }]);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites name=\"flyball chaos\">
  <testsuite name=\"s\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"1.500\">
    <testcase classname=\"s\" name=\"coverage\" time=\"1.500\"/>
    <testcase classname=\"s\" name=\"coverage\" time=\"1.500\"><failure message=\"coverage 0.9500 &lt; 0.99\"/></testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(xml, expected);
    }
}
