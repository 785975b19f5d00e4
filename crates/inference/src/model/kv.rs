//! The key-value cache: fixed-size pages handed out from a bounded pool.

use crate::kernels::{LANES, Lanes, PAGE};

/// Geometry of a page: one slab of keys and one of values per layer and key-value head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageShape {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
}

impl PageShape {
    /// Lane groups in the keys (or the values) of one layer and head.
    fn slab(self) -> usize {
        PAGE * self.head_dim / LANES
    }

    fn page(self) -> usize {
        2 * self.layers * self.heads * self.slab()
    }

    fn offset(self, layer: usize, head: usize) -> usize {
        2 * (layer * self.heads + head) * self.slab()
    }
}

type Page = Box<[Lanes]>;

/// All pages there will ever be. A sequence reserves its worst case before it starts, so that no running sequence
/// can ever find the pool empty.
#[derive(Debug)]
pub(crate) struct KvPool {
    shape: PageShape,
    free: Vec<Page>,
    reserved: usize,
    capacity: usize,
}

impl KvPool {
    /// A pool for `tokens` positions; memory is taken from the system when first used.
    pub(crate) fn new(shape: PageShape, tokens: usize) -> Self {
        Self { shape, free: Vec::new(), reserved: 0, capacity: tokens.div_ceil(PAGE) }
    }

    /// Pages that a sequence of `tokens` positions needs.
    pub(crate) fn pages_for(tokens: usize) -> usize {
        tokens.div_ceil(PAGE)
    }

    /// Reserves room for sequences of the given lengths, all or none.
    pub(crate) fn reserve(&mut self, lengths: &[usize]) -> Option<Vec<Sequence>> {
        let wanted: usize = lengths.iter().map(|len| Self::pages_for(*len)).sum();
        if wanted > self.capacity - self.reserved {
            return None;
        }
        self.reserved += wanted;
        let sequence = |len: &usize| Sequence {
            shape: self.shape,
            pages: Vec::new(),
            len: 0,
            reserved: Self::pages_for(*len),
        };
        Some(lengths.iter().map(sequence).collect())
    }

    /// Gives a sequence the pages for `len` positions; `len` stays within what it reserved.
    pub(crate) fn grow(&mut self, sequence: &mut Sequence, len: usize) {
        let wanted = Self::pages_for(len).min(sequence.reserved);
        while sequence.pages.len() < wanted {
            let size = self.shape.page();
            let page = self.free.pop().unwrap_or_else(|| vec![[0.0; LANES]; size].into_boxed_slice());
            sequence.pages.push(page);
        }
    }

    /// Copies the positions of `from` into `to`, which is empty.
    pub(crate) fn fork(&mut self, from: &Sequence, to: &mut Sequence) {
        self.grow(to, from.len);
        for (source, target) in from.pages.iter().zip(&mut to.pages) {
            target.copy_from_slice(source);
        }
        to.len = from.len;
    }

    pub(crate) fn release(&mut self, sequence: Sequence) {
        self.reserved -= sequence.reserved;
        self.free.extend(sequence.pages);
    }
}

/// The cache of one sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    shape: PageShape,
    pages: Vec<Page>,
    len: usize,
    reserved: usize,
}

impl Sequence {
    /// Positions fed so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn advance(&mut self, rows: usize) {
        self.len += rows;
    }

    /// Keys and values of every page for one layer and head.
    pub(crate) fn slabs(&self, layer: usize, head: usize) -> impl Iterator<Item = (&[Lanes], &[Lanes])> {
        let (at, slab) = (self.shape.offset(layer, head), self.shape.slab());
        self.pages.iter().map(move |page| (&page[at..at + slab], &page[at + slab..at + 2 * slab]))
    }

    /// Writes one position's key and value for one layer and head.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        head: usize,
        position: usize,
        key: &[Lanes],
        value: &[Lanes],
    ) {
        let (at, slab) = (self.shape.offset(layer, head), self.shape.slab());
        let (page, offset) = (position / PAGE, position % PAGE);
        let width = self.shape.head_dim;
        let page = &mut self.pages[page][at..at + 2 * slab];
        let (keys, values) = page.split_at_mut(slab);
        let group = &mut keys[offset / LANES * width..][..width];
        for (slot, number) in group.iter_mut().zip(key.as_flattened()) {
            slot[offset % LANES] = *number;
        }
        values[offset * key.len()..][..value.len()].copy_from_slice(value);
    }
}
