//! The period against its limit, as a small picture: what is spent by the end of each day, and the line that it should not cross.
//!
//! Without letters: the alternative text says the figures, and letters in a picture are unreadable on a phone and in the dark.

use super::notice::Notice;

const WIDTH: usize = 1120;
const HEIGHT: usize = 300;
const MARGIN: usize = 16;

const PAPER: [u8; 3] = [255, 255, 255];
const BAR: [u8; 3] = [47, 111, 208];
/// Of what lies above the limit.
const OVER: [u8; 3] = [200, 50, 45];
const LIMIT: [u8; 3] = [90, 96, 104];
const GROUND: [u8; 3] = [205, 210, 216];

/// A PNG; `None` when there is nothing to draw.
pub fn png(notice: &Notice) -> Option<Vec<u8>> {
    let days_of_period = i128::from(days_between(&notice.period_start, &notice.period_end)?);
    let limit = notice.limit.nanos();
    if notice.days.is_empty() || notice.budget.is_empty() || limit <= 0 {
        return None;
    }
    let mut picture = vec![PAPER; WIDTH * HEIGHT];
    let mut fill = |x: std::ops::Range<usize>, y: std::ops::Range<usize>, colour: [u8; 3]| {
        for row in y.start..y.end.min(HEIGHT) {
            for column in x.start..x.end.min(WIDTH) {
                picture[row * WIDTH + column] = colour;
            }
        }
    };
    let (inner_width, inner_height) = ((WIDTH - 2 * MARGIN) as i128, (HEIGHT - 2 * MARGIN) as i128);
    // The limit lies at four fifths, or lower when more than a quarter above it is spent.
    let top = (limit.saturating_mul(5) / 4).max(notice.spent.nanos());
    let height_of = |amount: i128| -> usize { (amount.clamp(0, top).saturating_mul(inner_height) / top.max(1)) as usize };
    let ground = HEIGHT - MARGIN;
    fill(MARGIN..WIDTH - MARGIN, ground..ground + 2, GROUND);
    let mut sum = 0_i128;
    for (day, cost) in &notice.days {
        sum = sum.saturating_add(cost.nanos());
        let Some(at) = days_between(&notice.period_start, day) else { continue };
        let at = i128::from(at - 1);
        let left = MARGIN + (at.clamp(0, days_of_period) * inner_width / days_of_period) as usize;
        let right = MARGIN + ((at + 1).clamp(0, days_of_period) * inner_width / days_of_period) as usize;
        let gap = (right.saturating_sub(left) / 6).min(6);
        let (reached, allowed) = (height_of(sum), height_of(sum.min(limit)));
        fill(left + gap..right.saturating_sub(gap).max(left + gap + 1), ground - allowed..ground, BAR);
        fill(left + gap..right.saturating_sub(gap).max(left + gap + 1), ground - reached..ground - allowed, OVER);
    }
    let line = ground - height_of(limit);
    for dash in (MARGIN..WIDTH - MARGIN).step_by(24) {
        fill(dash..(dash + 14).min(WIDTH - MARGIN), line.saturating_sub(2)..line + 2, LIMIT);
    }
    encoded(&picture)
}

/// Days from one to the other, both counted.
fn days_between(from: &str, to: &str) -> Option<i64> {
    let (from, to) = (from.parse::<chrono::NaiveDate>().ok()?, to.parse::<chrono::NaiveDate>().ok()?);
    Some((to - from).num_days() + 1).filter(|days| *days >= 1)
}

fn encoded(picture: &[[u8; 3]]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?; // a vector takes everything
    writer.write_image_data(picture.as_flattened()).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}
