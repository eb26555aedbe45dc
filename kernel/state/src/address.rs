//! Owns addresses on links of ours. Does not own routes, also not those the kernel derives.

use ipnetwork::IpNetwork;

use crate::name::LinkName;

/// An address on a link of ours; set with `nodad noprefixroute`, so no route appears by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The link that carries it.
    pub link: LinkName,
    /// Address and prefix length as given to the kernel (host bits kept).
    pub net: IpNetwork,
}
