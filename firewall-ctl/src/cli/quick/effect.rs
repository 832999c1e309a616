//! What a quick verb did to packets, for people.

use firewall_api::effect::Effect;

/// A line for each kind of packets that newly passes or is newly dropped.
pub(super) fn text(effect: &Effect) -> String {
    let mut lines: Vec<String> = effect
        .packets
        .iter()
        .map(|changed| match changed.passes() {
            true => format!(
                "+ newly passes   {}  (was dropped by {})",
                changed.packets, changed.was
            ),
            false => format!(
                "- newly dropped  {}  (was passed by {})",
                changed.packets, changed.was
            ),
        })
        .collect();
    if effect.more > 0 {
        lines.push(format!("  and {} more kinds of packets", effect.more));
    }
    if !effect.complete {
        lines.push("  and more: there are too many rules to list what changes".to_owned());
    }
    if lines.is_empty() {
        lines.push("  no packet newly passes or is newly dropped".to_owned());
    }
    lines.extend(effect.settings.iter().map(|setting| format!("~ {setting}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::effect::PacketsChanged;

    #[test]
    fn what_passes_and_what_is_dropped_is_said() {
        let changed = |change: &str, packets: &str, was: &str| PacketsChanged {
            change: change.to_owned(),
            packets: packets.to_owned(),
            example: String::new(),
            was: was.to_owned(),
            becomes: String::new(),
        };
        let nothing = Effect {
            complete: true,
            ..Effect::default()
        };
        let some = Effect {
            packets: vec![
                changed(PacketsChanged::PASSES, "tcp port 80", "the default"),
                changed(
                    PacketsChanged::DROPS,
                    "tcp port 22",
                    "the rule `ssh` (p.yaml:7)",
                ),
            ],
            more: 3,
            settings: vec!["limit of rule `ssh`: none -> 6/30s".to_owned()],
            complete: false,
        };
        insta::assert_snapshot!(format!("{}\n~~~\n{}", text(&nothing), text(&some)), @r"
          no packet newly passes or is newly dropped
        ~~~
        + newly passes   tcp port 80  (was dropped by the default)
        - newly dropped  tcp port 22  (was passed by the rule `ssh` (p.yaml:7))
          and 3 more kinds of packets
          and more: there are too many rules to list what changes
        ~ limit of rule `ssh`: none -> 6/30s
        ");
    }
}
