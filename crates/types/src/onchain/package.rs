//! A compiled Move package, as far as publishing it needs to look inside: names, addresses, size and digest.

use crate::{Address, Hash32};
use std::collections::BTreeSet;

/// Largest package that Sui takes, in bytes as [`Package::size`] counts them.
pub const PACKAGE_BYTES_MAX: usize = 100 * 1024;

const MAGIC: [u8; 4] = [0xa1, 0x1c, 0xeb, 0x0b];
const MODULE_HANDLES: u8 = 1;
const DATATYPE_HANDLES: u8 = 2;
const IDENTIFIERS: u8 = 7;
const ADDRESSES: u8 = 8;

/// What a module's bytecode says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Zero until it is published.
    pub address: Address,
    pub name: String,
    /// Structs and enums that it declares.
    pub datatypes: Vec<String>,
    /// Packages that it names, its own included.
    pub packages: BTreeSet<Address>,
}

/// Bytes that are not a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the bytecode of a Move module")]
pub struct MalformedModule;

/// Modules as they are published, with the packages that they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    bytecode: Vec<Vec<u8>>,
    modules: Vec<Module>,
    dependencies: Vec<Address>,
}

impl Package {
    pub fn new(bytecode: Vec<Vec<u8>>, dependencies: Vec<Address>) -> Result<Self, MalformedModule> {
        let modules = bytecode.iter().map(|bytes| Module::read(bytes)).collect::<Result<_, _>>()?;
        Ok(Self { bytecode, modules, dependencies })
    }

    pub fn bytecode(&self) -> &[Vec<u8>] {
        &self.bytecode
    }

    /// In the order of their bytecode.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    pub fn dependencies(&self) -> &[Address] {
        &self.dependencies
    }

    /// What an upgrade of this package is authorized by: BLAKE2b-256 of the sorted hashes of the modules and ids of
    /// the dependencies.
    pub fn digest(&self) -> Hash32 {
        let mut parts: Vec<[u8; 32]> = self.bytecode.iter().map(|bytes| Hash32::of(bytes).0).collect();
        parts.extend(self.dependencies.iter().map(|id| id.into_inner()));
        parts.sort_unstable();
        let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
        Hash32::of_parts(&parts)
    }

    /// Bytes that count against [`PACKAGE_BYTES_MAX`]: version, modules with their names, where every datatype comes
    /// from, and where every dependency is.
    pub fn size(&self) -> usize {
        let modules: usize = self
            .bytecode
            .iter()
            .zip(&self.modules)
            .map(|(bytes, module)| bytes.len() + module.name.len())
            .sum();
        let origins = |module: &Module| -> usize {
            module.datatypes.iter().map(|name| module.name.len() + name.len() + Address::LENGTH).sum()
        };
        let origins: usize = self.modules.iter().map(origins).sum();
        let links = self.dependencies.len() * (2 * Address::LENGTH + 8);
        8 + modules + origins + links
    }
}

impl Module {
    pub fn read(bytes: &[u8]) -> Result<Self, MalformedModule> {
        Self::parse(bytes).ok_or(MalformedModule)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut header = Cursor(bytes.strip_prefix(&MAGIC)?.get(4..)?);
        let mut tables = Vec::new();
        for _ in 0..header.number()? {
            tables.push((header.byte()?, header.number()?, header.number()?));
        }
        let contents = header.0;
        let end = tables.iter().map(|(_, offset, length)| offset + length).max()?;
        let table = |kind| {
            let (_, offset, length) = tables.iter().find(|(found, _, _)| *found == kind)?;
            contents.get(*offset..offset + length).map(Cursor)
        };
        let own = Cursor(contents.get(end..)?).number()?;
        let names = table(IDENTIFIERS)?.all(Cursor::text)?;
        let addresses = table(ADDRESSES)?.all(Cursor::address)?;
        let handles = table(MODULE_HANDLES)?.all(|cursor| Some((cursor.number()?, cursor.number()?)))?;
        let declared = table(DATATYPE_HANDLES).unwrap_or(Cursor(&[])).all(Cursor::datatype)?;
        let declared = declared.into_iter().filter(|(module, _)| *module == own);
        let (address, name) = handles.get(own)?;
        Some(Self {
            address: *addresses.get(*address)?,
            name: names.get(*name)?.clone(),
            datatypes: declared.map(|(_, name)| names.get(name).cloned()).collect::<Option<_>>()?,
            packages: handles.iter().map(|(at, _)| addresses.get(*at).copied()).collect::<Option<_>>()?,
        })
    }
}

/// Bytes yet to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// ULEB128 of at most 32 bits.
    fn number(&mut self) -> Option<usize> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).ok().and_then(|value| usize::try_from(value).ok());
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        std::str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    fn address(&mut self) -> Option<Address> {
        Address::from_bytes(self.take(Address::LENGTH)?).ok()
    }

    /// Module and name of a struct or enum; abilities and type parameters are passed over.
    fn datatype(&mut self) -> Option<(usize, usize)> {
        let (module, name, _) = (self.number()?, self.number()?, self.number()?);
        for _ in 0..self.number()? {
            self.number()?;
            self.byte()?;
        }
        Some((module, name))
    }

    /// Rows until the end.
    fn all<T>(mut self, row: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut rows = Vec::new();
        while !self.0.is_empty() {
            rows.push(row(&mut self)?);
        }
        Some(rows)
    }
}

/// The least bytecode with this name and these dependencies, which declares one datatype: for tests of what handles
/// packages without running them.
pub fn empty_module(name: &str, datatype: &str, dependencies: &[Address]) -> Vec<u8> {
    let handles = (0..=dependencies.len()).flat_map(|at| [number(at), number(0)].concat());
    let addresses = [Address::ZERO].into_iter().chain(dependencies.iter().copied());
    let text = |text: &str| [number(text.len()), text.as_bytes().to_vec()].concat();
    let tables = [
        (MODULE_HANDLES, handles.collect()),
        (DATATYPE_HANDLES, [number(0), number(1), number(0), number(0)].concat()),
        (IDENTIFIERS, [text(name), text(datatype)].concat()),
        (ADDRESSES, addresses.flat_map(Address::into_inner).collect::<Vec<u8>>()),
    ];
    let mut bytes = [&MAGIC[..], &7u32.to_le_bytes(), &number(tables.len())].concat();
    let mut offset = 0;
    for (kind, table) in &tables {
        bytes.push(*kind);
        bytes.extend([number(offset), number(table.len())].concat());
        offset += table.len();
    }
    tables.iter().for_each(|(_, table)| bytes.extend(table));
    bytes.extend(number(0));
    bytes
}

/// ULEB128.
fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_who_it_is() {
        let module = Module::read(&empty_module("admin", "AdminCap", &[Address::TWO])).unwrap();
        assert_eq!((module.address, module.name.as_str()), (Address::ZERO, "admin"));
        assert_eq!(module.datatypes, ["AdminCap"]);
        assert_eq!(module.packages, BTreeSet::from([Address::ZERO, Address::TWO]));
    }

    #[test]
    fn what_is_cut_short_or_not_a_module_is_refused() {
        let whole = empty_module("admin", "AdminCap", &[Address::TWO]);
        for end in 0..whole.len() {
            assert_eq!(Module::read(&whole[..end]), Err(MalformedModule), "{end}");
        }
        assert_eq!(Module::read(b"\x7fELF and so on"), Err(MalformedModule));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order() {
        let modules = [empty_module("a", "A", &[]), empty_module("b", "B", &[])];
        let ids = [Address::TWO, Address::from_static("0x1")];
        let one = Package::new(modules.to_vec(), ids.to_vec()).unwrap();
        let other = modules.into_iter().rev().collect();
        let other = Package::new(other, ids.into_iter().rev().collect()).unwrap();
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), Package::new(one.bytecode().to_vec(), vec![]).unwrap().digest());
    }

    #[test]
    fn the_size_counts_names_origins_and_links() {
        let bytes = empty_module("ab", "Cde", &[]);
        let package = Package::new(vec![bytes.clone()], vec![Address::TWO]).unwrap();
        assert_eq!(package.size(), 8 + (bytes.len() + 2) + (2 + 3 + 32) + (32 + 32 + 8));
    }
}
