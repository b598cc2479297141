//! All knowledge of Flower: versions, ports, command lines, Fleet operations in both transports, runs
