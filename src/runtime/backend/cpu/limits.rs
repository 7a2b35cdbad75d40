//! Memory limits: how much this process may still allocate, which may be less than the machine has.

use crate::backend::FreeMemory;
use std::path::Path;

/// What the tightest memory limit of this process leaves, if it has any: that of its address space, of its data, or of its
/// control groups. Known only on Linux.
pub fn room() -> Option<FreeMemory> {
    let read = |name: &str| std::fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default();
    let groups = room_of_groups(&read("cgroup"), Path::new("/sys/fs/cgroup"));
    room_of_process(&read("limits"), &read("status")).into_iter().chain(groups).min_by_key(|room| room.bytes)
}

/// From the texts of `/proc/self/limits` and `/proc/self/status`.
fn room_of_process(limits: &str, status: &str) -> Option<FreeMemory> {
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let taken = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    let room = |name, taken_as, limit_name| {
        let bytes = limit(name)?.saturating_sub(taken(taken_as)?);
        Some(FreeMemory { bytes, limit: Some(limit_name) })
    };
    let address_space = room("Max address space", "VmSize:", "the limit of its address space (ulimit -v)");
    let data = room("Max data size", "VmData:", "the limit of its data (ulimit -d)");
    address_space.into_iter().chain(data).min_by_key(|room| room.bytes)
}

/// From the text of `/proc/self/cgroup` and the folder where control groups are mounted.
fn room_of_groups(membership: &str, mounted: &Path) -> Option<FreeMemory> {
    /// The files with the limit and the use, and the prefix of counts for a whole subtree.
    struct Version {
        limit: &'static str,
        used: &'static str,
        prefix: &'static str,
    }
    const V1: Version =
        Version { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", prefix: "total_" };
    const V2: Version = Version { limit: "memory.max", used: "memory.current", prefix: "" };
    let mut rooms = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (version, top) = match controllers {
            "" => (V2, mounted.to_owned()),
            _ if controllers.split(',').any(|name| name == "memory") => (V1, mounted.join("memory")),
            _ => continue,
        };
        // A limit holds for all groups below it. Inside a container the top is the container's own group.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let read = |file: &str| std::fs::read_to_string(top.join(group).join(file)).ok();
            let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
            let (Some(limit), Some(used)) = (number(version.limit), number(version.used)) else { continue };
            // The page cache is given up when memory is needed.
            let stat = read("memory.stat").unwrap_or_default();
            let files = ["active_file", "inactive_file"].map(|kind| {
                let name = format!("{}{kind} ", version.prefix);
                let count =
                    stat.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse::<u64>().ok());
                count.unwrap_or_default()
            });
            let taken = used.saturating_sub(files[0].saturating_add(files[1]));
            let bytes = limit.saturating_sub(taken);
            rooms.push(FreeMemory {
                bytes,
                limit: Some("the memory limit of its control group or container"),
            });
        }
    }
    rooms.into_iter().min_by_key(|room| room.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_process_leave_what_it_has_not_taken() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max data size             unlimited            unlimited            bytes\n\
                      Max address space         1048576              unlimited            bytes\n";
        let status = "Name:\treflux\nVmPeak:\t  900 kB\nVmSize:\t     824 kB\nVmData:\t  100 kB\n";
        let room = room_of_process(limits, status).unwrap();
        assert_eq!(room.bytes, 200 * 1024);
        assert!(room.limit.unwrap().contains("ulimit -v"));
        let both = limits.replacen("unlimited  ", "204800  ", 1);
        let room = room_of_process(&both, status).unwrap();
        assert_eq!((room.bytes, room.limit.unwrap().contains("ulimit -d")), (100 * 1024, true));
        assert_eq!(room_of_process(&limits.replace("1048576", "unlimited"), status), None);
        assert_eq!(room_of_process("", ""), None);
    }

    #[test]
    fn the_tightest_group_above_a_process_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |group: &str, file: &str, text: &str| {
            let group = folder.path().join(group);
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join(file), text).unwrap();
        };
        let room = |membership: &str| room_of_groups(membership, folder.path()).map(|room| room.bytes);
        write("jobs/mine", "memory.max", "max\n");
        write("jobs/mine", "memory.current", "100\n");
        assert_eq!(room("0::/jobs/mine\n"), None);
        write("jobs", "memory.max", "1000\n");
        write("jobs", "memory.current", "700\n");
        write("jobs", "memory.stat", "anon 200\nfile 500\ninactive_file 300\nactive_file 100\n");
        assert_eq!(room("0::/jobs/mine\n"), Some(700));
        write("jobs/mine", "memory.max", "600\n");
        assert_eq!(room("0::/jobs/mine\n"), Some(500));
        // Without a namespace of its own, a container's path is that of the host, where the container has no such folder.
        assert_eq!(room("0::/docker/0123\n"), None);
        write("", "memory.max", "5000");
        write("", "memory.current", "6000");
        assert_eq!(room("0::/docker/0123\n"), Some(0));
        // Version 1 has a hierarchy for each controller.
        write("memory/job", "memory.limit_in_bytes", "4096\n");
        write("memory/job", "memory.usage_in_bytes", "2048\n");
        write(
            "memory/job",
            "memory.stat",
            "inactive_file 9\ntotal_inactive_file 1000\ntotal_active_file 24\n",
        );
        assert_eq!(room("5:cpu,cpuacct:/job\n4:memory:/job\n"), Some(3072));
        assert_eq!(room("not a group\n"), None);
    }
}
