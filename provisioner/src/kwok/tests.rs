use crate::{CapacityType, kwok::KwokCatalog, resources::MEMORY};

#[test]
fn the_builtin_catalogue_has_karpenters_shape() {
    let catalog = KwokCatalog::builtin();
    assert_eq!(catalog.instance_types().len(), 144);
    let find = |name: &str| {
        let found = catalog.instance_types().iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let small = find("c-1x-amd64-linux");
    assert_eq!(small.allocatable().get(MEMORY).to_string(), "2038Mi");
    assert_eq!(small.offerings.len(), 8);
    let price = |capacity_type| {
        let mut offers = small.offerings.iter();
        offers.find(|o| o.capacity_type == capacity_type).unwrap().price
    };
    assert!((price(CapacityType::OnDemand) - 0.027_147_483_648).abs() < 1e-12);
    assert!((price(CapacityType::Spot) - 0.019_003_238_553_6).abs() < 1e-12);
    let large = find("m-256x-arm64-windows");
    assert_eq!(large.capacity.get(MEMORY).to_string(), "2Ti");
    assert_eq!(large.capacity.get("pods").value(), 1024);
}

const TYPE: &str = r"
- name: small
  requirements:
    - {key: kubernetes.io/arch, operator: In, values: [amd64]}
    - {key: kubernetes.io/os, operator: In, values: [linux]}
  capacity: {cpu: 2, memory: 4Gi, pods: '20'}
  allocatable: {cpu: 1900m, memory: 3Gi, pods: 20}
  offerings:
    - price: 0.5
      available: false
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [a]}
    - price: 1
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [b]}
";

#[test]
fn a_file_gives_its_types() {
    let catalog = KwokCatalog::from_text(TYPE).unwrap();
    let [it] = catalog.instance_types() else {
        panic!("one type")
    };
    assert_eq!(it.allocatable().get(MEMORY).to_string(), "3Gi");
    assert_eq!(it.allocatable().get("cpu").to_string(), "1900m");
    let offers: Vec<_> = it
        .offerings
        .iter()
        .map(|o| (o.zone.as_str(), o.available))
        .collect();
    assert_eq!(offers, [("a", false), ("b", true)]);
    assert!(it.requirements.allows("topology.kubernetes.io/zone", "b"));
    assert!(!it.requirements.allows("topology.kubernetes.io/zone", "c"));
}

#[test]
fn karpenters_own_file_is_read_as_it_is() {
    let text = r#"[{"name": "c-1x", "architecture": "amd64", "operatingSystems": ["linux"],
        "resources": {"cpu": "1", "memory": "2Gi"},
        "offerings": [{"Price": 0.02, "Available": true, "Requirements": [
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["test-zone-a"]}]}]}]"#;
    let catalog = KwokCatalog::from_text(text).unwrap();
    let it = &catalog.instance_types()[0];
    assert_eq!(it.capacity.get("pods").value(), 110);
    assert_eq!(it.allocatable().get("cpu").to_string(), "900m");
    assert!(it.requirements.allows("kubernetes.io/os", "linux"));
    assert!(!it.requirements.allows("kubernetes.io/os", "windows"));
}

#[test]
fn every_problem_of_a_file_is_said_at_once() {
    let text = r"
- name: ''
- name: one
  capacity: {cpu: many, memory: 1Gi, pods: 10}
  allocatable: {memory: 2Gi}
  offerings:
    - price: -1
      available: perhaps
      requirements: [{key: topology.kubernetes.io/zone, operator: Is, values: [a]}]
- name: two
  capacity: {cpu: 1, memory: 1Gi, pods: 10}
  offerings: []
- name: two
  capacity: [1]
";
    let error = KwokCatalog::from_text(text).unwrap_err().to_string();
    for expected in [
        r#"[0].name is "", expected a text"#,
        r#"[1].capacity.cpu is "many", expected a quantity"#,
        "[1].capacity.cpu is missing, expected an amount above zero",
        "[1].allocatable.memory is 2Gi, expected at most the capacity of 1Gi",
        "[1].offerings[0].price is -1, expected a number",
        r#"[1].offerings[0].available is "perhaps", expected true or false"#,
        r#"unknown operator "Is""#,
        "[2].offerings is [], expected an array of at least one offering",
        "[3].capacity is [1], expected amounts by resource",
    ] {
        assert!(error.contains(expected), "{expected} is not in: {error}");
    }
    for (text, expected) in [
        ("{}", "the file is {}, expected an array"),
        ("[", "neither JSON nor YAML"),
    ] {
        let error = KwokCatalog::from_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected} is not in: {error}");
    }
    let twice = format!("{TYPE}{TYPE}");
    let error = KwokCatalog::from_text(&twice).unwrap_err().to_string();
    assert!(error.contains(r#"name "small" is there twice"#), "{error}");
}
