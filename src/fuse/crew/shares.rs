//! How many of the threads may be taken by requests that do not end.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::seat::Seat;
use crate::layer::stack::LayerIndex;

/// Over how long it is counted how many end.
const WINDOW: Duration = Duration::from_secs(1);
/// Somebody whose requests would all have ended within so many windows is slow, and does not hang.
const PATIENCE: usize = 30;

/// Whom a request is counted against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Layer(LayerIndex),
    User(u32),
}

/// Who has how many that are stuck, and how many of those end.
#[derive(Debug)]
pub(super) struct Shares {
    /// Threads that there may be.
    most: usize,
    stuck: usize,
    held: HashMap<Holder, usize>,
    began: Option<Instant>,
    ending: HashMap<Holder, usize>,
    ended: HashMap<Holder, usize>,
}

impl Shares {
    pub(super) fn new(most: usize) -> Self {
        let (held, ending, ended) = Default::default();
        Self { most, stuck: 0, held, began: None, ending, ended }
    }

    /// A look at all seats begins: what was stuck is counted anew.
    pub(super) fn begin(&mut self, now: Instant) {
        self.stuck = 0;
        self.held.clear();
        let began = *self.began.get_or_insert(now);
        if now - began >= WINDOW {
            self.began = Some(now);
            self.ended = std::mem::take(&mut self.ending);
        }
    }

    /// A request that is stuck.
    pub(super) fn hold(&mut self, seat: &Seat) {
        self.add(seat.layer(), seat.user());
    }

    /// One that was, and has ended.
    pub(super) fn release(&mut self, layer: Option<LayerIndex>, user: u32) {
        holders(layer, user).for_each(|holder| *self.ending.entry(holder).or_default() += 1);
    }

    fn add(&mut self, layer: Option<LayerIndex>, user: u32) {
        self.stuck += 1;
        holders(layer, user).for_each(|holder| *self.held.entry(holder).or_default() += 1);
    }

    pub(super) fn stuck(&self) -> usize {
        self.stuck
    }

    fn left(&self) -> usize {
        self.most.saturating_sub(self.stuck)
    }

    fn hangs_with(&self, holder: Holder, share: usize) -> bool {
        let ended = |counts: &HashMap<Holder, usize>| counts.get(&holder).copied().unwrap_or(0);
        let held = self.held.get(&holder).copied().unwrap_or(0);
        let ended = ended(&self.ended).max(ended(&self.ending));
        held >= share.max(1) && ended * PATIENCE < held
    }

    /// Whether a layer that does not answer has half as many as are left.
    pub(super) fn layer_has_enough(&self, layer: LayerIndex) -> bool {
        self.hangs_with(Holder::Layer(layer), self.left() / 2)
    }

    /// Users whose requests do not end and who have as many as are left: however many they are, each gets less than the one
    /// before, and something is left.
    pub(super) fn users_with_enough(&self) -> HashSet<u32> {
        let users = self.held.keys().filter_map(|holder| match holder {
            Holder::User(user) => Some(*user),
            Holder::Layer(_) => None,
        });
        users.filter(|user| self.hangs_with(Holder::User(*user), self.left())).collect()
    }
}

fn holders(layer: Option<LayerIndex>, user: u32) -> impl Iterator<Item = Holder> {
    layer.map(Holder::Layer).into_iter().chain([Holder::User(user)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1024;

    /// Requests get stuck one after another as long as they may wait; how many there are in the end.
    fn fill(requests: impl Fn(usize) -> (Option<LayerIndex>, u32)) -> usize {
        let mut shares = Shares::new(MOST);
        for next in 0..10 * MOST {
            let (layer, user) = requests(next);
            let refused = layer.is_some_and(|layer| shares.layer_has_enough(layer))
                || shares.users_with_enough().contains(&user);
            if !refused {
                shares.add(layer, user);
            }
        }
        shares.stuck()
    }

    #[test]
    fn a_layer_takes_a_third_and_its_user_is_served_elsewhere() {
        let mut shares = Shares::new(MOST);
        while !shares.layer_has_enough(3) {
            shares.add(Some(3), 0);
        }
        assert_eq!(shares.stuck(), 341);
        assert!(shares.users_with_enough().is_empty());
        assert!(!shares.layer_has_enough(4));
    }

    #[test]
    fn something_is_left_whoever_is_stuck_where() {
        assert_eq!(fill(|_| (None, 5)), MOST / 2);
        assert!(fill(|next| (Some((next % 7) as LayerIndex), 5)) < MOST);
        assert!(fill(|next| (None, (next % 8) as u32)) < MOST);
        assert!(fill(|next| (Some(next as LayerIndex % 3), next as u32 % 50)) < MOST);
    }

    #[test]
    fn what_is_slow_does_not_hang() {
        let begin = Instant::now();
        let mut shares = Shares::new(MOST);
        let look = |shares: &mut Shares, windows: u32, ended: usize| {
            shares.begin(begin + windows * WINDOW);
            (0..600).for_each(|_| shares.add(Some(1), 7));
            (0..ended).for_each(|_| shares.release(Some(1), 7));
            (shares.layer_has_enough(1), shares.users_with_enough().contains(&7))
        };
        assert_eq!(look(&mut shares, 0, 0), (true, true));
        assert_eq!(look(&mut shares, 1, 20), (false, false));
        assert_eq!(look(&mut shares, 2, 0), (false, false), "in the window before some have ended");
        assert_eq!(look(&mut shares, 3, 0), (true, true));
        assert_eq!(look(&mut shares, 4, 19), (true, true), "one now and then is not enough");
    }
}
