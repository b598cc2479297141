//! The kernel's limits for what one TCP connection may have on its way.
//!
//! Linux lets a connection receive 6 MiB and send 4 MiB ahead unless told otherwise, and counts its own overhead in: that is
//! about 250 Mbit/s at 100 ms, far below what the link's own window allows.

use std::io;
use std::path::Path;

/// Twice the link's window and a bit, since the kernel counts its overhead in, too. Only what is in use takes memory.
const WANTED: u64 = 64 << 20;

/// Raises the limits in this directory (`/proc/sys/net/ipv4`, for IPv6, too) to 64 MiB where they are lower. Other
/// limits stay as they are. A container may not do that: then lines are slower, and the log says what would help.
pub fn raise_tcp_buffers(dir: &Path) {
    for name in ["tcp_rmem", "tcp_wmem"] {
        match raise(&dir.join(name)) {
            Ok(None) => {}
            Ok(Some(before)) => {
                tracing::info!(name, before, now = WANTED, "TCP buffers raised for long lines")
            }
            Err(why) => tracing::warn!(
                %why,
                "cannot raise net.ipv4.{name} to {WANTED}: a line to another zone carries about 250 Mbit/s at 100 ms; set it on the host"
            ),
        }
    }
}

/// Raises the last of the three numbers in a file. What it was before, if it was lower.
fn raise(path: &Path) -> io::Result<Option<u64>> {
    let text = std::fs::read_to_string(path)?;
    let numbers: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    let Ok([least, default, most]) = numbers.as_deref() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {:?}", path.display(), text.trim()),
        ));
    };
    if *most >= WANTED {
        return Ok(None);
    }
    std::fs::write(path, format!("{least} {default} {WANTED}\n"))?;
    Ok(Some(*most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_number_is_raised_and_only_where_it_is_lower() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join("tcp_rmem"), "4096\t131072\t6291456\n").unwrap();
        std::fs::write(dir.path().join("tcp_wmem"), "4096\t16384\t134217728\n").unwrap();
        raise_tcp_buffers(dir.path());
        assert_eq!(read("tcp_rmem"), "4096 131072 67108864\n");
        assert_eq!(read("tcp_wmem"), "4096\t16384\t134217728\n");
        assert_eq!(raise(&dir.path().join("tcp_rmem")).unwrap(), None);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tcp_rmem");
        std::fs::write(&path, "4096 many\n").unwrap();
        assert!(raise(&path).unwrap_err().to_string().contains("4096 many"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4096 many\n");
        assert!(raise(&dir.path().join("tcp_wmem")).is_err());
    }
}
