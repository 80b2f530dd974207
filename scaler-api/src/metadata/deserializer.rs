//! Second pass: text becomes what the struct's field is.

use std::{fmt, str::FromStr};

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, IntoDeserializer, MapAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{
    Kind,
    duration::DURATION,
    go,
    resolve::{Resolved, Value},
};

/// Why a value cannot be read.
#[derive(Debug)]
pub(super) struct ValueError {
    pub(super) key: Option<&'static str>,
    /// What was expected.
    pub(super) message: String,
    /// Whether the value is not there at all.
    pub(super) missing: bool,
    /// Whether the message is known not to repeat the value.
    pub(super) shows_no_value: bool,
}

impl ValueError {
    fn expected(what: impl fmt::Display) -> Self {
        Self {
            key: None,
            message: format!("expected {what}"),
            missing: false,
            shows_no_value: true,
        }
    }

    fn at(mut self, key: &'static str) -> Self {
        self.key.get_or_insert(key);
        self
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            key: None,
            message: message.to_string(),
            missing: false,
            shows_no_value: false,
        }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::expected(format_args!("one of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            key: Some(field),
            missing: true,
            ..Self::expected("a value")
        }
    }
}

impl Resolved {
    pub(super) fn deserializer(&self) -> Root<'_> {
        Root {
            resolved: self,
            key: None,
        }
    }
}

/// All values, as a struct. A field that is no key is a struct that reads the same keys.
#[derive(Clone, Copy)]
pub(super) struct Root<'a> {
    resolved: &'a Resolved,
    /// The field that the struct stands in, if it stands in another.
    key: Option<&'static str>,
}

impl<'a> Root<'a> {
    fn entries(self, keys: &'static [&'static str]) -> Entries<'a> {
        let mut entries = Vec::new();
        for &key in keys {
            self.resolved.asked.borrow_mut().insert(key);
            if let Some(value) = self.resolved.values.get(key) {
                entries.push((key, Some(value)));
            } else if !self.resolved.knows(key) {
                entries.push((key, None));
            }
        }
        Entries {
            resolved: self.resolved,
            entries: entries.into_iter(),
            current: None,
        }
    }
}

impl<'de> Deserializer<'de> for Root<'_> {
    type Error = ValueError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.resolved.nested.borrow_mut().extend(self.key);
        visitor.visit_map(self.entries(keys))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(de::Error::custom(
            "this key is missing from the fields of the trigger",
        ))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        seq tuple tuple_struct map enum identifier
    }
}

/// The keys of one struct; no value means a struct inside.
struct Entries<'a> {
    resolved: &'a Resolved,
    entries: std::vec::IntoIter<(&'static str, Option<&'a Value>)>,
    current: Option<(&'static str, Option<&'a Value>)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ValueError> {
        self.current = self.entries.next();
        self.current
            .map(|(key, _)| seed.deserialize(key.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let result = match value {
            Some(value) => seed.deserialize(Scalar {
                text: &value.text,
                value,
                is_element: false,
            }),
            None => seed.deserialize(Root {
                resolved: self.resolved,
                key: Some(key),
            }),
        };
        result.map_err(|error| error.at(key))
    }
}

/// One value, or one element of a list or map.
#[derive(Clone, Copy)]
struct Scalar<'a> {
    text: &'a str,
    value: &'a Value,
    is_element: bool,
}

impl<'a> Scalar<'a> {
    fn element(self, text: &'a str) -> Self {
        Self {
            text: text.trim(),
            value: self.value,
            is_element: true,
        }
    }

    fn elements(self) -> impl Iterator<Item = Self> {
        self.text
            .split(',')
            .map(move |text| self.element(text))
            .filter(|element| !element.text.is_empty())
    }

    /// Notes as what the struct reads the value.
    fn read_as(self, kind: Kind) -> Self {
        if !self.is_element && self.value.kind.get().is_none() {
            self.value.kind.set(Some(kind));
        }
        self
    }

    fn expected(self, what: impl fmt::Display) -> ValueError {
        self.name_element(ValueError::expected(what))
    }

    /// Of a list, says which element it was.
    fn name_element(self, mut error: ValueError) -> ValueError {
        if self.is_element && !self.value.hidden {
            error.message = format!("{:?} in it: {}", self.text, error.message);
        }
        error
    }

    /// The text, if it is one of the allowed words.
    fn word(self) -> Result<&'a str, ValueError> {
        let allowed = self.value.allowed;
        if allowed.is_empty() || allowed.contains(&self.text) {
            return Ok(self.text);
        }
        Err(self.expected(format_args!("one of {}", allowed.join(", "))))
    }

    fn integer<T: FromStr + fmt::Display + Copy>(self, min: T, max: T) -> Result<T, ValueError> {
        let text = self.word()?;
        text.parse().map_err(|_| {
            // A number that does not fit and text that is no number are different mistakes.
            if text.parse::<i128>().is_ok() {
                self.expected(format_args!("a whole number from {min} to {max}"))
            } else {
                self.expected("a whole number")
            }
        })
    }

    fn float(self) -> Result<f64, ValueError> {
        let number = self
            .word()?
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| self.expected("a number"))
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Scalar<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! deserialize_integers {
    ($($method:ident => $visit:ident: $type:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            visitor.$visit(self.read_as(Kind::Integer).integer(<$type>::MIN, <$type>::MAX)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Scalar<'_> {
    type Error = ValueError;

    deserialize_integers! {
        deserialize_i8 => visit_i8: i8,
        deserialize_i16 => visit_i16: i16,
        deserialize_i32 => visit_i32: i32,
        deserialize_i64 => visit_i64: i64,
        deserialize_i128 => visit_i128: i128,
        deserialize_u8 => visit_u8: u8,
        deserialize_u16 => visit_u16: u16,
        deserialize_u32 => visit_u32: u32,
        deserialize_u64 => visit_u64: u64,
        deserialize_u128 => visit_u128: u128,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_str(self.word()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.read_as(Kind::Boolean);
        visitor.visit_bool(go::parse_bool(self.word()?).ok_or_else(|| self.expected("true or false"))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_f64(self.read_as(Kind::Number).float()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.value.placeholder {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if name == DURATION {
            self.read_as(Kind::Duration);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_seq(SeqDeserializer::new(self.read_as(Kind::List).elements()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.read_as(Kind::Map);
        if self.value.placeholder {
            return visitor.visit_map(MapDeserializer::new(std::iter::empty::<(Self, Self)>()));
        }
        let pairs = self.elements().map(|element| {
            let (key, value) = element
                .text
                .split_once('=')
                .ok_or_else(|| element.expected("key=value"))?;
            Ok((self.element(key), self.element(value)))
        });
        let pairs: Vec<_> = pairs.collect::<Result<_, ValueError>>()?;
        visitor.visit_map(MapDeserializer::new(pairs.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let word = match words.first() {
            Some(first) if self.value.placeholder => first,
            _ => self.word()?,
        };
        let access: de::value::StrDeserializer<'_, ValueError> = word.into_deserializer();
        visitor
            .visit_enum(access)
            .map_err(|error| self.name_element(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_bytes(self.word()?.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ValueError> {
        Err(ValueError::expected(format_args!(
            "no value of its own, since {name} has its own keys"
        )))
    }

    forward_to_deserialize_any! { char str string identifier }
}
