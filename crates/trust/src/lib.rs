//! CA, leaf certificates, signing requests and fingerprints
