//! The context of a VM: its variables and the files that a real VM finds on its context CD.

use crate::addresses::{ONEGATE, Plan};
use crate::attributes::{Attributes, text};
use crate::machine::Nic;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Variables of a context by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Per interface, set to '' where the network does not say.
const NIC_VARIABLES: [&str; 15] = [
    "DNS",
    "EXTERNAL",
    "GATEWAY",
    "IP6",
    "IP6_GATEWAY",
    "IP6_METHOD",
    "IP6_METRIC",
    "IP6_PREFIX_LENGTH",
    "IP6_ULA",
    "METHOD",
    "METRIC",
    "MTU",
    "SEARCH_DOMAIN",
    "VLAN_ID",
    "VROUTER_IP",
];

/// The VM whose context it is.
pub(crate) struct Of<'a> {
    pub(crate) nics: &'a [Nic],
    pub(crate) vm: u32,
    pub(crate) plan: Plan,
}

/// The variables of a VM from the CONTEXT of its template.
///
/// `$KEY` in a value becomes the template's attribute KEY, empty if there is none; what comes in that way is not looked
/// at again.
pub(crate) fn build(template: &Attributes, of: &Of<'_>) -> Variables {
    let mut found = Variables::new();
    let Some(context) = template.get("CONTEXT").and_then(|c| c.as_object()) else { return found };
    for (key, value) in context {
        found.insert(key.to_ascii_uppercase(), resolve(&text(value), template));
    }
    token(&mut found, of);
    network(&mut found, of);
    found.insert("DISK_ID".to_owned(), "1".to_owned());
    found.insert("TARGET".to_owned(), "hda".to_owned());
    found
}

/// The context after `one.vm.updateconf`, and whether oned takes it for changed, which decides if a running VM is told.
///
/// Step by step as in oned: what is equal to the old value is set aside (and put back at the end), so that only what is
/// new is searched for references, and only a new TOKEN=YES brings ONEGATE_ENDPOINT and VMID with it. NETWORK=YES counts as
/// new in a replacement.
///
/// `Err` is oned's text: `ETHn_*` belong to the interfaces.
pub(crate) fn change(
    old: &Variables,
    given: &Attributes,
    append: bool,
    template: &Attributes,
    of: &Of<'_>,
) -> Result<(Variables, bool), String> {
    let mut new: Variables = given.iter().map(|(k, v)| (k.to_ascii_uppercase(), text(v))).collect();
    let (mut equal, changed) = compare(old, &new, append)?;
    for key in equal.keys().filter(|key| append || *key != "NETWORK") {
        new.remove(key);
    }
    for kept in ["TARGET", "DISK_ID"] {
        new.insert(kept.to_owned(), old.get(kept).cloned().unwrap_or_default());
    }
    for value in new.values_mut() {
        *value = resolve(value, template);
    }
    network(&mut new, of);
    token(&mut new, of);
    if append {
        let mut all = old.clone();
        all.extend(new);
        Ok((all, changed))
    } else {
        new.append(&mut equal);
        Ok((new, changed))
    }
}

/// What is equal in both, and whether the rest makes a change.
fn compare(old: &Variables, new: &Variables, append: bool) -> Result<(Variables, bool), String> {
    let refused =
        |doing: &str, key: &str| format!("Unable to {doing} {key}, update NIC to update network context");
    let (mut equal, mut changed) = (Variables::new(), false);
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    // oned walks through both in order and stops at the end of either. So variables that a replacement drops from the
    // end of the alphabet are no change for it.
    while let (Some((is, was)), Some((key, value))) = (olds.peek(), news.peek()) {
        match key.cmp(is) {
            Ordering::Less if of_interface(key) => return Err(refused("add", key)),
            Ordering::Less => {
                changed = true;
                news.next();
            }
            Ordering::Greater => {
                changed |= !append;
                olds.next();
            }
            Ordering::Equal => {
                if value == was {
                    equal.insert((*key).clone(), (*value).clone());
                } else if of_interface(key) {
                    return Err(refused("update", key));
                } else {
                    changed = true;
                }
                olds.next();
                news.next();
            }
        }
    }
    changed |= news.peek().is_some();
    Ok((equal, changed))
}

/// `ETH<number>_<name>`.
fn of_interface(key: &str) -> bool {
    let parts = key.strip_prefix("ETH").and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(number, name)| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(word)
    })
}

fn says(variables: &Variables, key: &str) -> bool {
    variables.get(key).is_some_and(|v| v.eq_ignore_ascii_case("YES"))
}

/// The VM is to have a token file.
pub(crate) fn has_token(variables: &Variables) -> bool {
    says(variables, "TOKEN")
}

fn token(variables: &mut Variables, of: &Of<'_>) {
    if has_token(variables) {
        variables.insert("ONEGATE_ENDPOINT".to_owned(), of.plan.url(ONEGATE, ""));
        variables.insert("VMID".to_owned(), of.vm.to_string());
    }
}

/// `ETHn_*`, where NETWORK=YES asks for them. oned makes them again whenever it writes context.sh.
pub(crate) fn network(variables: &mut Variables, of: &Of<'_>) {
    if !says(variables, "NETWORK") {
        return;
    }
    for (n, nic) in of.nics.iter().enumerate() {
        for name in NIC_VARIABLES {
            variables.insert(format!("ETH{n}_{name}"), String::new());
        }
        variables.insert(format!("ETH{n}_IP"), of.plan.outside(nic.octet).to_string());
        variables.insert(format!("ETH{n}_MAC"), of.plan.mac(nic.octet));
        variables.insert(format!("ETH{n}_MASK"), "255.255.255.0".to_owned());
        variables.insert(format!("ETH{n}_NETWORK"), of.plan.network().to_string());
    }
}

/// Replaces `$NAME` and `$NAME[...]`.
fn resolve(value: &str, template: &Attributes) -> String {
    let mut done = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        if name.is_empty() {
            done.push('$');
            continue;
        }
        rest = tail;
        if let Some((_, after)) = tail.strip_prefix('[').and_then(|t| t.split_once(']')) {
            // $USER[...], $NETWORK[...]: nothing of the kind is set here.
            rest = after;
        } else if let Some(value) = template.get(&name.to_ascii_uppercase()) {
            done.push_str(&text(value));
        }
    }
    done + rest
}

/// context.sh as OpenNebula writes it.
pub(crate) fn shell(variables: &Variables) -> String {
    let mut file = "# Context variables generated by OpenNebula\n".to_owned();
    for (key, value) in variables {
        file.push_str(&format!("{key}='{}'\n", value.replace('\'', "'\\''")));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn resolves_once_and_quotes() {
        let template = json!({"A": "$B it's $(id) ${x}", "B": "no", "CONTEXT": {
            "a": "$A", "GONE": "$NOPE", "MIX": "<$B-$5$>", "KEY": "$USER[SSH_PUBLIC_KEY]", "TOKEN": "YES", "NETWORK": "YES"}});
        let Value::Object(template) = template else { unreachable!() };
        let found = build(
            &template,
            &Of {
                nics: &[Nic { octet: 10, network: 0, name: String::new() }],
                vm: 7,
                plan: Plan::new(77, 0),
            },
        );
        assert_eq!(found["A"], "$B it's $(id) ${x}");
        assert_eq!(
            (found["GONE"].as_str(), found["MIX"].as_str(), found["KEY"].as_str()),
            ("", "<no-$>", "")
        );
        assert_eq!((found["ETH0_IP"].as_str(), found["ETH0_GATEWAY"].as_str()), ("127.77.1.10", ""));
        assert_eq!(
            (found["VMID"].as_str(), found["ONEGATE_ENDPOINT"].as_str()),
            ("7", "http://127.77.1.1:5030")
        );
        assert!(shell(&found).contains("\nA='$B it'\\''s $(id) ${x}'\nDISK_ID='1'\n"));
    }

    fn changed(given: Value, append: bool) -> Result<(Variables, bool), String> {
        let old = json!({"CONTEXT": {"A": "1", "NETWORK": "YES", "TOKEN": "YES", "Z": "26"}});
        let template = json!({"NAME": "it", "A": "not again"});
        let (Value::Object(old), Value::Object(given), Value::Object(template)) = (old, given, template)
        else {
            unreachable!()
        };
        let of =
            Of { nics: &[Nic { octet: 10, network: 0, name: String::new() }], vm: 7, plan: Plan::new(77, 0) };
        change(&build(&old, &of), &given, append, &template, &of)
    }

    #[test]
    fn append_lays_over_and_resolves_what_is_new() {
        let (found, told) = changed(json!({"a": "1", "b": "$NAME-$NOPE", "TARGET": "mine"}), true).unwrap();
        assert!(told);
        assert_eq!((found["A"].as_str(), found["B"].as_str(), found["Z"].as_str()), ("1", "it-", "26"));
        assert_eq!((found["TARGET"].as_str(), found["VMID"].as_str()), ("hda", "7"));
        assert_eq!(found["ETH0_IP"], "127.77.1.10");
        let (same, told) =
            changed(json!({"A": "1", "NETWORK": "YES", "ETH0_IP": "127.77.1.10"}), true).unwrap();
        assert!(!told && same["Z"] == "26");
    }

    #[test]
    fn a_replacement_keeps_interfaces_and_loses_onegate_unless_it_holds_it() {
        let (found, told) = changed(json!({"NETWORK": "YES", "TOKEN": "YES", "A": "$NAME"}), false).unwrap();
        assert!(told);
        assert_eq!(
            (found["A"].as_str(), found["TOKEN"].as_str(), found["ETH0_IP"].as_str()),
            ("it", "YES", "127.77.1.10")
        );
        for gone in ["Z", "VMID", "ONEGATE_ENDPOINT"] {
            assert!(!found.contains_key(gone), "{gone}");
        }
        let whole = json!({"NETWORK": "YES", "TOKEN": "YES", "VMID": "7", "ONEGATE_ENDPOINT": "http://127.77.1.1:5030"});
        let (found, _) = changed(whole, false).unwrap();
        assert_eq!(found["ONEGATE_ENDPOINT"], "http://127.77.1.1:5030");
        // A token that is new brings them along.
        assert_eq!(changed(json!({"TOKEN": "yes"}), false).unwrap().0["VMID"], "7");
        assert!(!changed(json!({"A": "2"}), false).unwrap().0.contains_key("ETH0_IP"));
    }

    #[test]
    fn interfaces_are_not_changed_by_context() {
        let refused = |given, append| changed(given, append).unwrap_err();
        let text = "Unable to update ETH0_IP, update NIC to update network context";
        assert_eq!(refused(json!({"ETH0_IP": "10.0.0.1"}), true), text);
        let text = "Unable to add ETH1_IP, update NIC to update network context";
        assert_eq!(refused(json!({"ETH1_IP": "10.0.0.1"}), false), text);
        assert!(changed(json!({"ETHER_X": "1", "ETH_X": "1", "ETH0": "1"}), true).is_ok());
    }
}
