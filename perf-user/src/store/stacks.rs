//! The stacks of a recording, and the names of their frames.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    rc::Rc,
};

use rusqlite::{Connection, params};

use super::read::{Unreadable, each, text};
use crate::profile::{Frame, FrameId, FrameKind, Profile, Series, StackId};

/// Bytes of names in all stacks, each stack written out: the size of the recording's folded form.
const MAX_TEXT_BYTES: u64 = 2 << 30;

/// What a frame takes beside its name.
const FRAME_BYTES: u64 = 32;

/// Frames of a stack. The kernel gives 127 of each side; inlined functions come on top.
const MAX_DEPTH: usize = 4096;

/// The functions at a stored place, outermost first, and why it has no symbol, if it has none.
#[derive(Debug, Default)]
struct Place {
    frames: Vec<FrameId>,
    unnamed: Option<Rc<str>>,
    text_bytes: u64,
}

/// A stored stack as the profile has it.
#[derive(Clone, Debug)]
struct Stack {
    id: StackId,
    /// The stored stack of its caller, which has a smaller id; 0 for none.
    caller: u32,
    /// Why its last frame has no name.
    unnamed: Option<Rc<str>>,
    /// Of all its frames.
    text_bytes: u64,
    depth: usize,
}

/// Stacks by their stored ids.
#[derive(Debug)]
pub(super) struct Stacks(HashMap<u32, Stack>);

/// Loads the wanted stacks.
pub(super) fn load(
    connection: &Connection,
    profile: &mut Profile,
    strings: &HashMap<u32, String>,
    wanted: BTreeSet<u32>,
) -> Result<Stacks, Unreadable> {
    let mut nodes: HashMap<u32, (u32, u32)> = HashMap::new();
    each(connection, "SELECT id, caller, frame FROM stack", |row| {
        nodes.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        Ok(())
    })?;
    let mut places: HashMap<u32, Place> = HashMap::new();
    let mut frames: HashMap<Frame, FrameId> = HashMap::new();
    let root = Stack { id: StackId::EMPTY, caller: 0, unnamed: None, text_bytes: 0, depth: 0 };
    let mut stacks = HashMap::from([(0, root)]);
    // Stacks share their callers' frames here, and have them for their own where they are written.
    let (mut shared_bytes, mut text_bytes) = (0_u64, 0_u64);
    for id in wanted {
        // From the leaf to the first caller that is known already, then back.
        let (mut path, mut at) = (Vec::new(), id);
        while !stacks.contains_key(&at) {
            let Some((caller, frame)) = nodes.get(&at).copied().filter(|(caller, _)| *caller < at) else { break };
            path.push((at, frame));
            at = caller;
        }
        let Some(mut stack) = stacks.get(&at).cloned() else { continue };
        for (node, frame) in path.into_iter().rev() {
            let place = match places.entry(frame) {
                Entry::Occupied(place) => place.into_mut(),
                Entry::Vacant(place) => place.insert(load_place(connection, profile, &mut frames, strings, frame)?),
            };
            shared_bytes = shared_bytes.saturating_add(place.text_bytes);
            if shared_bytes > MAX_TEXT_BYTES {
                return Err(Unreadable::TooMuch("stacks"));
            }
            stack.depth += place.frames.len();
            if stack.depth > MAX_DEPTH {
                return Err(Unreadable::Insane("a stack is deeper than any thread's"));
            }
            for frame in &place.frames {
                stack.id = profile.stacks.push(stack.id, *frame);
            }
            stack.text_bytes += place.text_bytes;
            stack.unnamed.clone_from(&place.unnamed);
            stack.caller = at;
            stacks.insert(node, stack.clone());
            at = node;
        }
        text_bytes = text_bytes.saturating_add(stack.text_bytes);
        if text_bytes > MAX_TEXT_BYTES {
            return Err(Unreadable::TooMuch("stacks"));
        }
    }
    Ok(Stacks(stacks))
}

impl Stacks {
    /// Gives samples, which name stored stacks, those of the profile; drops samples without one. Counts the frames that
    /// have no name.
    pub(super) fn resolve(&self, series: &mut Series) {
        let mut values: BTreeMap<u32, u64> = BTreeMap::new();
        series.samples.retain_mut(|sample| {
            let stored = sample.stack.0;
            let Some(stack) = self.0.get(&stored) else { return false };
            *values.entry(stored).or_default() += sample.value;
            sample.stack = stack.id;
            true
        });
        series.moments.retain_mut(|moment| {
            let stack = self.0.get(&moment.stack.0);
            moment.stack = stack.map_or(moment.stack, |stack| stack.id);
            stack.is_some()
        });
        // From the leaves down: what a stack took, its callers took as well.
        while let Some((stored, value)) = values.pop_last() {
            let Some(stack) = self.0.get(&stored).filter(|_| stored != 0) else { continue };
            if let Some(reason) = &stack.unnamed {
                let count = series.unsymbolized.entry(reason.to_string()).or_default();
                *count = count.saturating_add(value);
            }
            *values.entry(stack.caller).or_default() += value;
        }
    }
}

fn load_place(
    connection: &Connection,
    profile: &mut Profile,
    frames: &mut HashMap<Frame, FrameId>,
    strings: &HashMap<u32, String>,
    id: u32,
) -> rusqlite::Result<Place> {
    let sql =
        "SELECT frame.unnamed, frame.address, module.kind, module.path, line.depth, line.function, line.file, line.line
        FROM frame JOIN module ON module.id = frame.module JOIN line ON line.frame = frame.id
        WHERE frame.id = ?1 ORDER BY line.depth";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![id])?;
    let mut place = Place::default();
    while let Some(row) = rows.next()? {
        place.unnamed = row.get(0)?;
        let (module_kind, path): (String, String) = (row.get(2)?, row.get(3)?);
        let kind = match module_kind.as_str() {
            "kernel" => FrameKind::Kernel,
            "jit" => FrameKind::Jit,
            "python" => FrameKind::Python,
            "scheduler" => FrameKind::Wait,
            "waker" => FrameKind::Waker,
            _ if row.get::<_, u32>(4)? > 0 => FrameKind::Inlined,
            _ => FrameKind::User,
        };
        let function = text(strings, row.get(5)?);
        place.text_bytes += function.len() as u64 + FRAME_BYTES;
        let frame = Frame {
            function: profile.strings.intern(function),
            module: profile.strings.intern(&path),
            file: profile.strings.intern(text(strings, row.get(6)?)),
            line: row.get(7)?,
            kind,
            symbolized: place.unnamed.is_none(),
            address: row.get::<_, i64>(1)? as u64,
        };
        let next = FrameId(profile.frames.len() as u32);
        let frame_id = *frames.entry(frame).or_insert(next);
        if frame_id == next {
            profile.frames.push(frame);
            if let Some(reason) = &place.unnamed {
                let reason = profile.strings.intern(reason);
                profile.unnamed.insert(frame_id, reason);
            }
        }
        place.frames.push(frame_id);
    }
    Ok(place)
}
