//! Names with their attributes, to and from their C structure.

use std::ffi::c_char;

use o7s::{
    Result,
    irm::{Balance, NameInfo, SecurityPaths},
};

use crate::{
    boundary::{invalid, put_text, text_in},
    layout,
};

/// What a C program says of a name.
///
/// # Errors
/// [`o7s::ErrorKind::Invalid`]: a text that is no UTF-8, an unknown policy.
pub fn from_c(info: &layout::NameInfo) -> Result<NameInfo> {
    let balance = i32::try_from(info.pol_lb).ok();
    let balance = balance.and_then(|number| Balance::try_from(number).ok());
    let balance = balance.ok_or_else(|| {
        invalid(format!(
            "there is no load balancing policy with number {}",
            info.pol_lb
        ))
    })?;
    Ok(NameInfo {
        name: text_in(&info.name, "the name")?.to_owned(),
        balance: balance.into(),
        server: paths(&info.server)?,
        client: paths(&info.client)?,
        ..NameInfo::default()
    })
}

/// Writes what the daemon says of a name.
#[must_use]
pub fn to_c(info: &NameInfo) -> layout::NameInfo {
    // SAFETY: it consists of numbers, for which zeros are values.
    let mut to: layout::NameInfo = unsafe { std::mem::zeroed() };
    put_text(&mut to.name, &info.name);
    to.pol_lb = info.balance as u32;
    let roles = [
        (&info.server, &mut to.server),
        (&info.client, &mut to.client),
    ];
    for (from, to) in roles {
        let Some(from) = from else { continue };
        put_text(&mut to.enc, &from.encryption);
        put_text(&mut to.key, &from.key);
        put_text(&mut to.crt, &from.certificate);
    }
    to
}

/// The files of a role; none if all are the default.
fn paths(paths: &layout::NameSecPaths) -> Result<Option<SecurityPaths>> {
    let read = |array: &[c_char]| text_in(array, "the path of a security file").map(str::to_owned);
    let paths = SecurityPaths {
        encryption: read(&paths.enc)?,
        key: read(&paths.key)?,
        certificate: read(&paths.crt)?,
    };
    Ok((paths != SecurityPaths::default()).then_some(paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let info = NameInfo {
            name: "svc".to_owned(),
            balance: Balance::Spill.into(),
            client: Some(SecurityPaths {
                key: "/etc/key".to_owned(),
                ..SecurityPaths::default()
            }),
            ..NameInfo::default()
        };
        let mut c = to_c(&info);
        assert_eq!(from_c(&c).unwrap(), info);
        c.pol_lb = 2;
        assert!(from_c(&c).is_err());
        c.pol_lb = 0;
        c.server.crt[0] = -1_i8 as c_char;
        assert!(from_c(&c).is_err());
    }
}
