//! States of VMs, services and roles by their numbers on the wire.

use std::fmt;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $text] $(#[$vdoc])* $variant,)*
            /// A number that this release does not know.
            Other(i32),
        }

        impl $name {
            /// The number on the wire.
            pub fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* Self::Other(n) => n }
            }
        }

        impl From<i32> for $name {
            fn from(number: i32) -> Self {
                match number { $($number => Self::$variant,)* n => Self::Other(n) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$variant => f.write_str($text),)* Self::Other(n) => write!(f, "state {n}") }
            }
        }
    )*};
}

states! {
    /// STATE of a VM.
    VmState {
        Init = 0 "INIT",
        Pending = 1 "PENDING",
        Hold = 2 "HOLD",
        Active = 3 "ACTIVE",
        Stopped = 4 "STOPPED",
        Suspended = 5 "SUSPENDED",
        Done = 6 "DONE",
        Poweroff = 8 "POWEROFF",
        Undeployed = 9 "UNDEPLOYED",
    }
    /// LCM_STATE of a VM whose STATE is ACTIVE.
    LcmState {
        Init = 0 "LCM_INIT",
        Prolog = 1 "PROLOG",
        Boot = 2 "BOOT",
        Running = 3 "RUNNING",
        Epilog = 11 "EPILOG",
        Shutdown = 12 "SHUTDOWN",
        Unknown = 16 "UNKNOWN",
        /// A running VM is handed something, such as a new context.
        Hotplug = 17 "HOTPLUG",
        ShutdownPoweroff = 18 "SHUTDOWN_POWEROFF",
        /// On its way up after a power-off.
        BootPoweroff = 20 "BOOT_POWEROFF",
        BootFailure = 36 "BOOT_FAILURE",
        PrologFailure = 39 "PROLOG_FAILURE",
    }
    /// STATE of a virtual network.
    NetworkState {
        Init = 0 "INIT",
        Ready = 1 "READY",
        LockCreate = 2 "LOCK_CREATE",
        LockDelete = 3 "LOCK_DELETE",
        Done = 4 "DONE",
        Error = 5 "ERROR",
        UpdateFailure = 6 "UPDATE_FAILURE",
    }
    /// STATE of an image.
    ImageState {
        Init = 0 "INIT",
        Ready = 1 "READY",
        Used = 2 "USED",
        Disabled = 3 "DISABLED",
        /// Being copied into its datastore.
        Locked = 4 "LOCKED",
        Error = 5 "ERROR",
        Clone = 6 "CLONE",
        Delete = 7 "DELETE",
        /// A persistent image in use: no second VM can have it.
        UsedPersistent = 8 "USED_PERS",
        LockedUsed = 9 "LOCKED_USED",
        LockedUsedPersistent = 10 "LOCKED_USED_PERS",
    }
    /// TYPE of an image.
    ImageKind {
        Os = 0 "OS",
        Cdrom = 1 "CDROM",
        Datablock = 2 "DATABLOCK",
        Kernel = 3 "KERNEL",
        Ramdisk = 4 "RAMDISK",
        Context = 5 "CONTEXT",
        Backup = 6 "BACKUP",
        Filesystem = 7 "FILESYSTEM",
    }
    /// TYPE of a datastore.
    DatastoreKind {
        Image = 0 "IMAGE",
        System = 1 "SYSTEM",
        File = 2 "FILE",
        Backup = 3 "BACKUP",
    }
    /// STATE of a host.
    HostState {
        Init = 0 "INIT",
        Monitored = 2 "MONITORED",
        Error = 3 "ERROR",
        Disabled = 4 "DISABLED",
        Offline = 8 "OFFLINE",
    }
    /// State of a OneFlow service.
    ServiceState {
        Pending = 0 "PENDING",
        Deploying = 1 "DEPLOYING",
        Running = 2 "RUNNING",
        Undeploying = 3 "UNDEPLOYING",
        Warning = 4 "WARNING",
        Done = 5 "DONE",
        FailedUndeploying = 6 "FAILED_UNDEPLOYING",
        FailedDeploying = 7 "FAILED_DEPLOYING",
        Scaling = 8 "SCALING",
        FailedScaling = 9 "FAILED_SCALING",
        Cooldown = 10 "COOLDOWN",
        DeployingNets = 11 "DEPLOYING_NETS",
        UndeployingNets = 12 "UNDEPLOYING_NETS",
        FailedDeployingNets = 13 "FAILED_DEPLOYING_NETS",
        FailedUndeployingNets = 14 "FAILED_UNDEPLOYING_NETS",
        Hold = 15 "HOLD",
    }
    /// State of a role: the same numbers as a service up to 10, but 11 is HOLD.
    RoleState {
        Pending = 0 "PENDING",
        Deploying = 1 "DEPLOYING",
        Running = 2 "RUNNING",
        Undeploying = 3 "UNDEPLOYING",
        Warning = 4 "WARNING",
        Done = 5 "DONE",
        FailedUndeploying = 6 "FAILED_UNDEPLOYING",
        FailedDeploying = 7 "FAILED_DEPLOYING",
        Scaling = 8 "SCALING",
        FailedScaling = 9 "FAILED_SCALING",
        Cooldown = 10 "COOLDOWN",
        Hold = 11 "HOLD",
    }
}

impl ImageState {
    /// A new VM can have this image now. A persistent one that is in use cannot be had twice.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::Used)
    }
}

impl ServiceState {
    /// Nothing will happen any more without somebody acting: a FAILED_* state.
    pub fn is_failed(self) -> bool {
        matches!(
            self,
            Self::FailedDeploying
                | Self::FailedUndeploying
                | Self::FailedScaling
                | Self::FailedDeployingNets
                | Self::FailedUndeployingNets
        )
    }

    /// A plain DELETE is accepted in this state; in every other one use
    /// [`recover_delete`](crate::oneflow::Client::recover_delete).
    pub fn accepts_delete(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Warning | Self::Hold | Self::Undeploying)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_unknown_ones_stay() {
        for n in -2..40 {
            assert_eq!(VmState::from(n).number(), n);
            assert_eq!(LcmState::from(n).number(), n);
            assert_eq!(ServiceState::from(n).number(), n);
            assert_eq!(RoleState::from(n).number(), n);
        }
        assert_eq!(RoleState::from(11), RoleState::Hold);
        assert_eq!(ServiceState::from(11).to_string(), "DEPLOYING_NETS");
        assert_eq!(VmState::from(77).to_string(), "state 77");
    }
}
