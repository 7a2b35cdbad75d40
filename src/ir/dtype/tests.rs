use super::*;

/// The bytes of each element that a type has, or, of 32 bits, of many.
fn elements(dtype: DType) -> Vec<Vec<u8>> {
    let patterns: Vec<u32> = match dtype.bits() {
        32 => {
            (0..=u32::MAX >> 16).flat_map(|high| [0, 1, 0x8000, 0xffff].map(|low| high << 16 | low)).collect()
        }
        bits => (0..1 << bits).collect(),
    };
    patterns.into_iter().map(|bits| bits.to_le_bytes()[..dtype.bytes()].to_vec()).collect()
}

/// The numbers next to each other of which a type has all, in order.
fn numbers(dtype: DType) -> Vec<f32> {
    let mut numbers: Vec<f32> =
        elements(dtype).iter().map(|bytes| dtype.decode(bytes)[0]).filter(|x| x.is_finite()).collect();
    numbers.sort_by(f32::total_cmp);
    numbers.dedup();
    numbers
}

#[test]
fn every_element_survives_decoding_and_encoding() {
    for &dtype in DType::ALL {
        for bytes in elements(dtype) {
            let number = dtype.decode(&bytes)[0];
            let again = dtype.encode(&[number]);
            if number.is_nan() {
                assert!(dtype.decode(&again)[0].is_nan(), "{dtype} {bytes:x?}");
            } else if dtype == DType::I32 {
                // Beyond 2²⁴ an f32 does not hold each of them.
                let exact = i32::from_le_bytes(bytes[..].try_into().unwrap());
                let kept = i32::from_le_bytes(again[..].try_into().unwrap());
                assert!(kept == exact || exact.unsigned_abs() > 1 << 24 && exact as f32 == number);
            } else {
                assert_eq!(again, bytes, "{dtype} {number}");
            }
        }
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_and_of_two_to_the_even_one() {
    for &dtype in DType::ALL.iter().filter(|dtype| dtype.bits() <= 16) {
        for pair in numbers(dtype).windows(2) {
            let (low, high) = (pair[0], pair[1]);
            let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
            let is_even = |x: f32| dtype.encode(&[x])[0] & 1 == 0;
            let even = if is_even(low) { low } else { high };
            assert_ne!(is_even(low), is_even(high), "{dtype} {low} {high}");
            assert_eq!(dtype.round(middle), even, "{dtype}: {middle:e} of {low:e} and {high:e}");
            assert_eq!(dtype.round(middle.next_down()), low, "{dtype}: below {middle:e}");
            assert_eq!(dtype.round(middle.next_up()), high, "{dtype}: above {middle:e}");
        }
    }
    for (x, expected) in [(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (8_388_607.5, 8_388_608.0)] {
        assert_eq!(DType::I32.round(x), expected);
    }
}

#[test]
fn bounds_are_what_the_table_says_and_what_lies_beyond_saturates_or_is_infinite() {
    for &dtype in DType::ALL {
        let numbers = numbers(dtype);
        let bounds = [dtype.least() as f32, dtype.greatest() as f32];
        if dtype.bits() <= 16 {
            assert_eq!([numbers[0], *numbers.last().unwrap()], bounds, "{dtype}");
        }
        assert_eq!(bounds.map(|bound| dtype.round(bound)), bounds, "{dtype}");
        let beyond = [f32::NEG_INFINITY, f32::INFINITY].map(|x| dtype.round(x));
        if dtype.is_float() {
            assert_eq!(beyond, [f32::NEG_INFINITY, f32::INFINITY], "{dtype}");
        } else {
            assert_eq!(beyond, bounds, "{dtype}");
            assert_eq!([-1e30, 1e30].map(|x| dtype.round(x)), bounds, "{dtype}");
        }
        let nan = dtype.round(f32::NAN);
        assert!(
            if dtype.codec().kind == NumberKind::Float { nan.is_nan() } else { nan == 0.0 },
            "{dtype}: {nan}"
        );
    }
}

#[test]
fn names_are_unique_and_lead_back() {
    for &dtype in DType::ALL {
        assert_eq!(dtype.name().parse(), Ok(dtype));
        assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.name());
        assert_eq!(serde_json::from_value::<DType>(dtype.name().into()).unwrap(), dtype);
        if let Some(name) = dtype.codec().file_name {
            assert_eq!(DType::from_file_name(name), Some(dtype));
        }
    }
    assert_eq!(DType::from_file_name("F64"), None);
    assert_eq!("f64".parse::<DType>(), Err(UnknownDType("f64".into())));
    assert_eq!(listed(DType::takes_scales), "i8, f8e4m3 and u4");
}

#[test]
fn sizes_and_roles_agree() {
    let bits: Vec<_> = DType::ALL.iter().map(|dtype| (dtype.name(), dtype.bits(), dtype.bytes())).collect();
    let expected = [
        ("f32", 32, 4),
        ("f16", 16, 2),
        ("bf16", 16, 2),
        ("i32", 32, 4),
        ("i8", 8, 1),
        ("f8e4m3", 8, 1),
        ("u4", 4, 1),
    ];
    assert_eq!(bits, expected);
    for &dtype in DType::ALL {
        assert_eq!(dtype.encode(&[0.0, 1.0]).len(), 2 * dtype.bytes(), "{dtype}");
        assert_eq!(dtype.round(1.0), 1.0, "{dtype}");
        assert!(!dtype.is_code() || dtype.takes_scales() && !dtype.is_float(), "{dtype}");
        // Each type that can have scales is one or another in a host tensor of codes, a byte each.
        assert!(!dtype.takes_scales() || dtype.bytes() == 1, "{dtype}");
    }
    assert_eq!((DType::U4.middle(), DType::I8.middle()), (8, 0));
}

#[test]
fn bf16_is_rounded_as_half_does() {
    let patterns = (0..=u16::MAX)
        .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| u32::from(high) << 16 | low));
    for x in patterns.map(f32::from_bits) {
        assert_eq!(codec::nearest_bf16(x), half::bf16::from_f32(x).to_bits(), "{x:e}");
    }
}
