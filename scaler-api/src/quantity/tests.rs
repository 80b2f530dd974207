//! Against the answers of apimachinery 0.37, and properties.

use proptest::prelude::*;

use super::*;

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::DecimalSi => "DecimalSI",
        Format::BinarySi => "BinarySI",
        Format::DecimalExponent => "DecimalExponent",
    }
}

#[test]
fn parses_and_prints_as_apimachinery_does() {
    let mut rows = 0;
    for line in include_str!("../../testdata/quantity-parse.tsv").lines() {
        rows += 1;
        let columns: Vec<&str> = line.split('\t').collect();
        let parsed = columns[0].parse::<Quantity>();
        match columns[1..] {
            ["error"] => assert!(parsed.is_err(), "{:?} must be refused, is {parsed:?}", columns[0]),
            [canonical, nanos, format] => {
                let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(parsed.to_string(), canonical, "text of {:?}", columns[0]);
                assert_eq!(parsed.nanos().to_string(), nanos, "value of {:?}", columns[0]);
                assert_eq!(format_name(parsed.format()), format, "format of {:?}", columns[0]);
            }
            _ => panic!("bad row {line:?}"),
        }
    }
    assert!(rows > 300, "the table is there");
}

#[test]
fn adds_subtracts_and_compares_as_apimachinery_does() {
    for line in include_str!("../../testdata/quantity-sums.tsv").lines() {
        let [left, right, sum, difference, ordering] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("bad row {line:?}")
        };
        let (a, b) = (quantity(left), quantity(right));
        assert_eq!((a + b).to_string(), sum, "{left} + {right}");
        assert_eq!((a - b).to_string(), difference, "{left} - {right}");
        assert_eq!((a.cmp(&b) as i8).to_string(), ordering, "{left} <=> {right}");
    }
}

#[test]
fn integers_round_away_from_zero_and_saturate() {
    for (text, units, millis) in [
        ("0", 0, 0),
        ("1n", 1, 1),
        ("-1n", -1, -1),
        ("1500m", 2, 1500),
        ("1500001u", 2, 1501),
        ("-1500m", -2, -1500),
        ("9223372036854775807", i64::MAX, i64::MAX),
        ("1e25", i64::MAX, i64::MAX),
        ("-1e25", i64::MIN, i64::MIN),
    ] {
        assert_eq!(quantity(text).value(), units, "value of {text}");
        assert_eq!(quantity(text).milli_value(), millis, "milli-value of {text}");
    }
}

#[test]
fn reported_values_have_three_decimals_and_are_never_negative() {
    for (value, text) in [
        (0.0, "0"),
        (1.0, "1"),
        (1.0004, "1"),
        (1.0006, "1001m"),
        (1.001, "1001m"),
        (0.0005, "1m"),
        (0.0625, "62m"),
        (2.5, "2500m"),
        (-3.0, "0"),
        (f64::NAN, "0"),
        (f64::INFINITY, "0"),
        (f64::NEG_INFINITY, "0"),
    ] {
        assert_eq!(Quantity::from_f64_milli(value).to_string(), text, "{value}");
    }
    assert_eq!(Quantity::from_f64_milli(1e300), quantity("1e29"));
}

#[test]
fn magnitudes_saturate_instead_of_wrapping() {
    let largest = quantity("1e40");
    assert_eq!(largest, quantity("1e29"));
    assert_eq!(largest + largest, largest);
    assert_eq!(-largest - largest, -largest);
    assert_eq!(largest.saturating_mul(-2), -largest);
    assert_eq!(quantity("3").saturating_mul(4), quantity("12"));
    assert_eq!(quantity(&"9".repeat(60)), largest);
    assert_eq!(quantity("1e-400000000"), quantity("1n"));
}

#[test]
fn floats_are_the_nearest() {
    for (text, value) in [
        ("0.1", 0.1),
        ("1500m", 1.5),
        ("12345678.9", 12_345_678.9),
        ("64Mi", 67_108_864.0),
    ] {
        assert_eq!(quantity(text).as_f64(), value, "{text}");
    }
}

#[test]
fn json_takes_strings_and_numbers_and_gives_strings() {
    for (json, text) in [
        ("\"64Mi\"", "64Mi"),
        ("\" 1 \"", "1"),
        ("1000", "1k"),
        ("0.1", "100m"),
        ("-2", "-2"),
        ("null", "0"),
    ] {
        let parsed: Quantity = serde_json::from_str(json).unwrap();
        assert_eq!(parsed.to_string(), text, "{json}");
    }
    assert_eq!(serde_json::to_string(&quantity("0.5")).unwrap(), "\"500m\"");
    let error = serde_json::from_str::<Quantity>("\"64 Mb\"")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"64 Mb\"") && error.contains("expected a number"),
        "{error}"
    );
}

#[test]
fn sums_take_the_format_of_the_first_that_is_not_zero() {
    let total: Quantity = [quantity("0"), quantity("512Mi"), quantity("1Gi")].iter().sum();
    assert_eq!(total.to_string(), "1536Mi");
}

#[cfg(feature = "keda")]
#[test]
fn converts_from_and_to_the_text_of_k8s_openapi() {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity as RawQuantity;
    assert_eq!(RawQuantity::from(quantity("0.5")), RawQuantity("500m".into()));
    assert_eq!(
        Quantity::try_from(&RawQuantity("64Mi".into())).unwrap(),
        quantity("64Mi")
    );
    assert!(Quantity::try_from(RawQuantity("64MB".into())).is_err());
    let schema = serde_json::to_value(schemars::schema_for!(Quantity)).unwrap();
    assert_eq!(schema["x-kubernetes-int-or-string"], true);
}

proptest! {
    #[test]
    fn printing_and_parsing_gives_the_same_value(nanos in -10_i128.pow(30)..10_i128.pow(30), format in 0..3) {
        let format = [Format::DecimalSi, Format::BinarySi, Format::DecimalExponent][format as usize];
        // Binary values end at 2^63-1 units when they are read.
        let nanos = if format == Format::BinarySi { nanos / 1_000 } else { nanos };
        let original = Quantity::from_nanos(nanos).with_format(format);
        prop_assert_eq!(quantity(&original.to_string()), original);
        prop_assert_eq!(quantity(&original.to_string()).to_string(), original.to_string());
    }

    #[test]
    fn whole_kibibytes_round_trip(count in 1_i64..1 << 40) {
        let original = Quantity::from_units(count * 1024).with_format(Format::BinarySi);
        prop_assert!(original.to_string().ends_with('i'));
        prop_assert_eq!(quantity(&original.to_string()), original);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[-+]?[0-9.]{0,60}[eEinumkKMGTP0-9+-]{0,6}") {
        if let Ok(parsed) = text.parse::<Quantity>() {
            prop_assert_eq!(quantity(&parsed.to_string()), parsed);
        }
    }

    #[test]
    fn any_string_is_no_panic(text in ".*") {
        let _parsed = text.parse::<Quantity>();
    }
}
