//! OpenNebula-compatible zones on one machine whose VMs run the real appliance
