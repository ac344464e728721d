//! Header names as they came: any bytes, while rust-rdkafka's own headers take text alone.
#![allow(unsafe_code)] // one call into librdkafka, which counts bytes and does not read them

use std::ptr;

use rdkafka::bindings as rd;
use rdkafka::message::OwnedHeaders;

/// Adds one header, byte for byte. Whether there was room.
pub(super) fn add(headers: &mut OwnedHeaders, name: &[u8], value: Option<&[u8]>) -> bool {
    let (Ok(name_len), Ok(value_len)) = (isize::try_from(name.len()), isize::try_from(value.map_or(0, <[u8]>::len))) else {
        return false;
    };
    let value = value.map_or(ptr::null(), <[u8]>::as_ptr);
    // SAFETY: a borrowed header list of rust-rdkafka is librdkafka's own list behind a reference, and this one is ours alone;
    // name and value are counted and copied.
    let answer = unsafe {
        let list = ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<rd::rd_kafka_headers_t>();
        rd::rd_kafka_header_add(list, name.as_ptr().cast(), name_len, value.cast(), value_len)
    };
    answer == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, Headers};

    use super::*;

    #[test]
    fn values_are_kept_absent_empty_and_binary() {
        let mut headers = OwnedHeaders::new();
        assert!(add(&mut headers, b"a", None) && add(&mut headers, b"b", Some(b"")) && add(&mut headers, b"", Some(b"\0\xff")));
        let seen: Vec<Header<'_, &[u8]>> = headers.iter().collect();
        let wanted: [(&str, Option<&[u8]>); 3] = [("a", None), ("b", Some(b"")), ("", Some(b"\0\xff"))];
        assert_eq!(seen.len(), wanted.len());
        assert!(seen.iter().zip(wanted).all(|(seen, (key, value))| seen.key == key && seen.value == value), "{seen:?}");
    }
}
