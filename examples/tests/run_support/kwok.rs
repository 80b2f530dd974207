//! One small instance type for kwok.

const INSTANCE_TYPES: &str = r"
- name: tiny
  requirements:
    - {key: kubernetes.io/arch, operator: In, values: [amd64]}
    - {key: kubernetes.io/os, operator: In, values: [linux]}
  capacity: {cpu: 1, memory: 1Gi, pods: 10}
  offerings:
    - price: 0.01
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [here]}
";

/// A file of instance types: a machine that has room for one pod of half a CPU.
pub(crate) fn tiny() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), INSTANCE_TYPES).unwrap();
    file
}
