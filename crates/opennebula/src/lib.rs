//! Clients for OpenNebula's XML-RPC, OneFlow and OneGate
