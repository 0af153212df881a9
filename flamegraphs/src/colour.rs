//! Colours: the hue tells the kind of code, the shade comes from the name and is the same in every picture.

use inferno::flamegraph::color::Color;

use crate::label::split_suffix;

/// What kind of code a label stands for, as its suffix or its brackets tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// No suffix.
    User,
    /// `_[i]`: inlined into its caller.
    Inlined,
    /// `_[j]`: generated at run time.
    Jit,
    /// `_[p]`: Python's, run by its interpreter.
    Python,
    /// `_[k]`: the kernel.
    Kernel,
    /// `_[w]`: no code, but why a thread waited.
    Wait,
    /// `_[w]` of a name that begins with `woken by `: the thread that ended a wait. What stands on it is that thread's stack.
    Waker,
    /// In brackets, like `[libfoo.so+0x1234]`: code whose name is not known.
    Unnamed,
}

impl Kind {
    /// The kind of `label`.
    #[must_use]
    pub fn of(label: &str) -> Self {
        let (name, suffix) = split_suffix(label);
        match suffix {
            "_[i]" => Self::Inlined,
            "_[j]" => Self::Jit,
            "_[p]" => Self::Python,
            "_[k]" => Self::Kernel,
            "_[w]" if name.starts_with("woken by ") => Self::Waker,
            "_[w]" => Self::Wait,
            _ if name.starts_with('[') && name.ends_with(']') => Self::Unnamed,
            _ => Self::User,
        }
    }

    /// What the legend says.
    #[must_use]
    pub fn caption(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Inlined => "inlined",
            Self::Jit => "JIT",
            Self::Python => "Python",
            Self::Kernel => "kernel",
            Self::Wait => "why it waited, or what it called",
            Self::Waker => "who ended the wait",
            Self::Unnamed => "no symbol",
        }
    }

    /// Hue in degrees, saturation and lightness in percent: where the range starts and how far it goes.
    fn range(self) -> [(f64, f64); 3] {
        match self {
            Self::User => [(348.0, 14.0), (72.0, 14.0), (68.0, 10.0)],
            Self::Inlined => [(176.0, 16.0), (42.0, 14.0), (62.0, 12.0)],
            Self::Jit => [(84.0, 24.0), (44.0, 14.0), (60.0, 10.0)],
            Self::Python => [(210.0, 20.0), (58.0, 14.0), (70.0, 10.0)],
            Self::Kernel => [(30.0, 12.0), (86.0, 14.0), (56.0, 10.0)],
            // Wide: every reason has a colour of its own.
            Self::Wait => [(236.0, 90.0), (46.0, 24.0), (58.0, 16.0)],
            // As different as can be from all others: two stacks meet there.
            Self::Waker => [(54.0, 4.0), (96.0, 4.0), (50.0, 6.0)],
            Self::Unnamed => [(220.0, 20.0), (5.0, 5.0), (72.0, 10.0)],
        }
    }

    /// The colour in the legend.
    pub(crate) fn typical(self) -> Color {
        self.shade([0.5; 3])
    }

    fn shade(self, at: [f64; 3]) -> Color {
        let [hue, saturation, lightness] = self.range();
        let place = |(start, length): (f64, f64), at: f64| start + length * at;
        rgb(place(hue, at[0]), place(saturation, at[1]) / 100.0, place(lightness, at[2]) / 100.0)
    }
}

/// The base of the picture, which is no code.
pub(crate) const ALL: Color = Color { r: 214, g: 214, b: 208 };

/// The colour of `label`, in every picture.
pub(crate) fn of(label: &str) -> Color {
    // FNV-1a: stable over versions and machines, unlike the standard library's hashes.
    let hash = label
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The high bits of FNV hardly change with the last letters of short names.
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = |shift: u32| ((mixed >> shift) & 0xffff) as f64 / 65_535.0;
    Kind::of(label).shade([part(48), part(32), part(16)])
}

/// <https://www.w3.org/TR/css-color-4/#hsl-to-rgb>
fn rgb(hue: f64, saturation: f64, lightness: f64) -> Color {
    let channel = |n: f64| {
        let k = (n + hue / 30.0) % 12.0;
        let swing = saturation * lightness.min(1.0 - lightness);
        let value = lightness - swing * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    Color { r: channel(0.0), g: channel(8.0), b: channel(4.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_from_suffixes() {
        assert_eq!(Kind::of("read"), Kind::User);
        assert_eq!(Kind::of("vfs_read_[k]"), Kind::Kernel);
        assert_eq!(Kind::of("min_[i]"), Kind::Inlined);
        assert_eq!(Kind::of("Foo.bar_[j]"), Kind::Jit);
        assert_eq!(Kind::of("Foo.bar_[p]"), Kind::Python);
        assert_eq!(Kind::of("waiting for a CPU_[w]"), Kind::Wait);
        assert_eq!(Kind::of("woken by redis (12)_[w]"), Kind::Waker);
        assert_eq!(Kind::of("woken by redis (12)"), Kind::User);
        assert_eq!(Kind::of("[libc.so.6+0x123]"), Kind::Unnamed);
        assert_eq!(Kind::of("[T]::sort"), Kind::User);
        assert_eq!(Kind::of("é_[k]"), Kind::Kernel);
        assert_eq!(Kind::of(""), Kind::User);
    }

    #[test]
    fn names_differ_in_shade_and_kinds_in_hue() {
        assert_eq!(of("parse"), of("parse"));
        assert_ne!(of("parse_a"), of("parse_b"));
        let (user, kernel, inlined, jit) = (of("f"), of("f_[k]"), of("f_[i]"), of("f_[j]"));
        assert!(user.r > user.g && user.b > 100, "rose: {user:?}");
        assert!(kernel.r > kernel.g && kernel.g > kernel.b && kernel.b < 100, "orange: {kernel:?}");
        assert!(inlined.g > inlined.r && inlined.b > inlined.r, "aqua: {inlined:?}");
        assert!(jit.g > jit.r && jit.g > jit.b, "green: {jit:?}");
        let python = of("f_[p]");
        assert!(python.b > python.g && python.g > python.r && python.b - python.r > 30, "blue: {python:?}");
        let waker = of("woken by f (1)_[w]");
        assert!(waker.r > 200 && waker.g > 180 && waker.b < 60, "yellow: {waker:?}");
    }

    #[test]
    fn conversion_is_the_standard_one() {
        assert_eq!(rgb(0.0, 1.0, 0.5), Color { r: 255, g: 0, b: 0 });
        assert_eq!(rgb(120.0, 1.0, 0.25), Color { r: 0, g: 128, b: 0 });
        assert_eq!(rgb(360.0, 1.0, 0.5), Color { r: 255, g: 0, b: 0 });
    }
}
