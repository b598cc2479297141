//! Which host a VM goes to, and what oned writes down when there is none.

use crate::attributes::text;
use crate::machine::Vm;
use crate::quota::Usage;
use crate::zone::{State, Zone, now};
use onefed_opennebula::{LcmState, VmState};
use serde_json::json;

/// Looks for a host; says whether the VM may start. Where there is none, SCHED_MESSAGE says why.
pub(crate) fn dispatch(zone: &Zone, id: u32) -> bool {
    let mut state = zone.lock();
    let found = host(&state, id);
    let Some(vm) = state.vms.get_mut(&id).filter(|vm| vm.state == VmState::Pending) else { return false };
    match found {
        Ok(host) => {
            vm.host = Some(host);
            vm.user_template.remove("SCHED_MESSAGE");
            vm.set(VmState::Active, LcmState::Prolog);
            true
        }
        Err(why) => {
            vm.user_template.insert("SCHED_MESSAGE".to_owned(), json!(format!("{} : {why}", date(now()))));
            false
        }
    }
}

fn host(state: &State, id: u32) -> Result<u32, &'static str> {
    if !state.hosts.values().any(|host| host.on) {
        return Err("Cannot dispatch VM: No hosts enabled to run VMs");
    }
    let Some(vm) = state.vms.get(&id) else { return Err("Cannot dispatch VM: it is gone") };
    if !vm.may_use_hosts {
        return Err("Cannot dispatch VM: User is not authorized to use any host");
    }
    let wanted = Usage::of(vm);
    let only = required(vm);
    let fits = |id: &u32| {
        if only.is_some_and(|only| only != i64::from(*id)) {
            return false;
        }
        let Some(host) = state.hosts.get(id) else { return false };
        let (_, mut used) = state.on_host(*id);
        used.add(&wanted);
        host.on && used.cpu <= host.cpu && used.memory <= host.memory
    };
    let found = state.hosts.keys().copied().find(fits);
    found.ok_or("Cannot dispatch VM to any Host. Check VM log for detailed reasons.")
}

/// The host that SCHED_REQUIREMENTS names by its number, `ID="4"`; other requirements are not looked at.
fn required(vm: &Vm) -> Option<i64> {
    let text = text(vm.user_template.get("SCHED_REQUIREMENTS")?);
    let number = text.trim().strip_prefix("ID")?.trim_start().strip_prefix('=')?;
    number.trim().trim_matches('"').parse().ok()
}

impl State {
    /// The VMs of a host and what they take.
    pub(crate) fn on_host(&self, host: u32) -> (Vec<u32>, Usage) {
        let here = self.vms.values().filter(|vm| vm.host == Some(host) && vm.state != VmState::Done);
        let mut used = Usage::default();
        let mut ids = Vec::new();
        for vm in here {
            ids.push(vm.id);
            used.add(&Usage::of(vm));
        }
        (ids, used)
    }
}

/// As oned writes a time into a message, in UTC: `Sun Nov 22 06:24:03 2026`.
pub(crate) fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, time) = (seconds / 86400, seconds % 86400);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    // Years counted from the first of March, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let month = MONTHS[usize::try_from(month).unwrap_or(0)];
    let (hour, minute, second) = (time / 3600, time % 3600 / 60, time % 60);
    format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        assert_eq!(date(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(date(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(date(1_795_328_643), "Sun Nov 22 06:24:03 2026");
    }
}
