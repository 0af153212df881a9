//! The stacks of a recording, and the names of their frames.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use rusqlite::{Connection, params};

use super::{
    blob::decode_frames,
    read::{Unreadable, each, text},
};
use crate::profile::{Frame, FrameId, FrameKind, Profile, Series, StackId};

/// Bytes of names in all stacks, each stack written out: the size of the recording's folded form.
const MAX_TEXT_BYTES: u64 = 2 << 30;

/// What a frame takes beside its name.
const FRAME_BYTES: u64 = 32;

/// Frames of a stack. The kernel gives 127 of each side; inlined functions come on top.
const MAX_DEPTH: usize = 4096;

/// The functions at a stored place, outermost first.
#[derive(Debug, Default)]
struct Place {
    frames: Vec<FrameId>,
    text_bytes: u64,
}

/// A row of the table `stack`.
struct Row {
    caller: u32,
    kept: u32,
    frames: Vec<u8>,
}

/// A stack, up to one of its stored frames, as the profile has it.
#[derive(Clone, Copy, Debug)]
struct Stack {
    id: StackId,
    /// Of all its frames.
    text_bytes: u64,
    depth: usize,
}

/// Stacks by their stored ids.
#[derive(Debug)]
pub(super) struct Stacks(HashMap<u32, StackId>);

/// Loads the wanted stacks.
pub(super) fn load(
    connection: &Connection,
    profile: &mut Profile,
    strings: &HashMap<u32, String>,
    wanted: BTreeSet<u32>,
) -> Result<Stacks, Unreadable> {
    let mut rows: HashMap<u32, Row> = HashMap::new();
    each(connection, "SELECT id, caller, kept, frames FROM stack", |row| {
        rows.insert(row.get(0)?, Row { caller: row.get(1)?, kept: row.get(2)?, frames: row.get(3)? });
        Ok(())
    })?;
    let mut places: HashMap<u32, Place> = HashMap::new();
    let mut frames: HashMap<Frame, FrameId> = HashMap::new();
    // Of each row that is known, the stacks that end at its own frames, after what it keeps of its caller.
    let mut known: HashMap<u32, Vec<Stack>> = HashMap::new();
    let mut stacks = HashMap::from([(0, StackId::EMPTY)]);
    // Stacks share their callers' frames here, and have them for their own where they are written.
    let (mut shared_bytes, mut text_bytes) = (0_u64, 0_u64);
    for id in wanted {
        // From the stack to the first caller that is known already, then back.
        let (mut path, mut at) = (Vec::new(), id);
        while let Some(row) = rows.get(&at).filter(|row| !known.contains_key(&at) && row.caller < at) {
            path.push((at, row));
            at = row.caller;
        }
        for (at, row) in path.into_iter().rev() {
            // What keeps nothing that is there is none, nor is what keeps of it.
            let Some(mut stack) = kept(&rows, &known, row) else {
                known.insert(at, Vec::new());
                continue;
            };
            if row.frames.len() > MAX_DEPTH * 5 {
                return Err(Unreadable::Insane("a stack is deeper than any thread's"));
            }
            let own = decode_frames(&row.frames).ok_or(Unreadable::Insane("the frames of a stack are no frames"))?;
            let mut own_stacks = Vec::with_capacity(own.len() + 1);
            own_stacks.push(stack);
            for frame in own {
                let place = match places.entry(frame) {
                    Entry::Occupied(place) => place.into_mut(),
                    Entry::Vacant(place) => place.insert(load_place(connection, profile, &mut frames, strings, frame)?),
                };
                shared_bytes = shared_bytes.saturating_add(place.text_bytes);
                if shared_bytes > MAX_TEXT_BYTES {
                    return Err(Unreadable::TooMuch("stacks"));
                }
                // Each is worth something, whether there is a row of it or not.
                stack.depth += place.frames.len().max(1);
                if stack.depth > MAX_DEPTH {
                    return Err(Unreadable::Insane("a stack is deeper than any thread's"));
                }
                for frame in &place.frames {
                    stack.id = profile.stacks.push(stack.id, *frame);
                }
                stack.text_bytes += place.text_bytes;
                own_stacks.push(stack);
            }
            known.insert(at, own_stacks);
        }
        let Some(stack) = known.get(&id).and_then(|own| own.last()) else { continue };
        text_bytes = text_bytes.saturating_add(stack.text_bytes);
        if text_bytes > MAX_TEXT_BYTES {
            return Err(Unreadable::TooMuch("stacks"));
        }
        stacks.insert(id, stack.id);
    }
    Ok(Stacks(stacks))
}

/// What a row keeps of its caller; `known` are the stacks that end at the own frames of rows.
fn kept(rows: &HashMap<u32, Row>, known: &HashMap<u32, Vec<Stack>>, row: &Row) -> Option<Stack> {
    if row.caller == 0 {
        return Some(Stack { id: StackId::EMPTY, text_bytes: 0, depth: 0 });
    }
    let at = row.kept.checked_sub(rows.get(&row.caller)?.kept)?;
    known.get(&row.caller)?.get(at as usize).copied()
}

impl Stacks {
    /// Gives samples, which name stored stacks, those of the profile; drops samples without one. Counts the frames that
    /// have no name.
    pub(super) fn resolve(&self, profile: &Profile, series: &mut Series) {
        let mut values: BTreeMap<StackId, u64> = BTreeMap::new();
        series.samples.retain_mut(|sample| {
            let Some(stack) = self.0.get(&sample.stack.0) else { return false };
            *values.entry(*stack).or_default() += sample.value;
            sample.stack = *stack;
            true
        });
        series.moments.retain_mut(|moment| {
            let stack = self.0.get(&moment.stack.0);
            moment.stack = *stack.unwrap_or(&moment.stack);
            stack.is_some()
        });
        // From the leaves down: what a stack took, its callers took as well.
        while let Some((stack, value)) = values.pop_last() {
            let Some((caller, frame)) = profile.stacks.node(stack) else { continue };
            if let Some(reason) = profile.unnamed.get(&frame) {
                let count = series.unsymbolized.entry(profile.strings.get(*reason).to_owned()).or_default();
                *count = count.saturating_add(value);
            }
            *values.entry(caller).or_default() += value;
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
        let unnamed: Option<String> = row.get(0)?;
        let (module_kind, path): (String, String) = (row.get(2)?, row.get(3)?);
        let kind = match module_kind.as_str() {
            "kernel" => FrameKind::Kernel,
            "jit" => FrameKind::Jit,
            "python" => FrameKind::Python,
            "scheduler" | "touched" | "lock" => FrameKind::Wait,
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
            symbolized: unnamed.is_none(),
            address: row.get::<_, i64>(1)? as u64,
        };
        let next = FrameId(profile.frames.len() as u32);
        let frame_id = *frames.entry(frame).or_insert(next);
        if frame_id == next {
            profile.frames.push(frame);
            if let Some(reason) = &unnamed {
                let reason = profile.strings.intern(reason);
                profile.unnamed.insert(frame_id, reason);
            }
        }
        place.frames.push(frame_id);
    }
    Ok(place)
}
