//! The boot of a VM: context to files, processes, publications and health
