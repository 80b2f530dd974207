//! The state of the cloud, and how it changes; no waiting here.

use std::{collections::BTreeMap, sync::Arc};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use tokio::time::Instant;

use super::{ClassProblem, FakeSettings, OfferingKey};
use crate::{
    Catalog, Error, ErrorKind, Instance, InstanceState, InstanceType, InterruptionKind, Machine, Offering,
    ProviderId, Requirements, ResourceList,
};

/// A bound on how many instances of some offerings run at once.
pub(super) struct Limit {
    pub which: Box<dyn Fn(&OfferingKey) -> bool + Send>,
    pub most: usize,
}

/// One instance with its machine and its times.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub instance: Instance,
    pub machine: Machine,
    pub runs_at: Instant,
    /// Since when it is being returned.
    pub ending: bool,
    /// When it is, or will be, gone.
    pub gone_at: Option<Instant>,
}

impl Record {
    fn is_gone(&self, now: Instant) -> bool {
        self.gone_at.is_some_and(|at| at <= now)
    }

    fn runs(&self, now: Instant) -> bool {
        self.runs_at <= now && !self.is_gone(now)
    }

    pub(super) fn as_of(&self, now: Instant) -> Instance {
        let state = if self.is_gone(now) {
            InstanceState::Terminated
        } else if self.ending {
            InstanceState::ShuttingDown
        } else if self.runs_at <= now {
            InstanceState::Running
        } else {
            InstanceState::Pending
        };
        Instance {
            state,
            ..self.instance.clone()
        }
    }
}

/// An announcement that was not acknowledged yet.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub number: u64,
    pub instance: ProviderId,
    pub kind: InterruptionKind,
    /// When it is said, or said again.
    pub visible_at: Instant,
}

/// Everything that the cloud knows.
pub(super) struct Cloud {
    rng: ChaCha8Rng,
    pub records: BTreeMap<ProviderId, Record>,
    tokens: BTreeMap<String, ProviderId>,
    pub limits: Vec<Limit>,
    unavailable: BTreeMap<OfferingKey, (Instant, jiff::Timestamp)>,
    types: Vec<Arc<InstanceType>>,
    catalog: Arc<Catalog>,
    pub image_id: String,
    pub class_problem: Option<ClassProblem>,
    pub announced: Vec<Announced>,
    announcements: u64,
    pub launched: usize,
    /// Names of the machines that ran when somebody last waited for a change.
    pub seen: Vec<String>,
}

/// What to buy.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub instance_type: Arc<InstanceType>,
    pub offering: Offering,
}

impl Choice {
    pub(super) fn key(&self) -> OfferingKey {
        key_of(&self.instance_type, &self.offering)
    }
}

pub(super) fn key_of(it: &InstanceType, offering: &Offering) -> OfferingKey {
    OfferingKey {
        instance_type: it.name.clone(),
        zone: offering.zone.clone(),
        capacity_type: offering.capacity_type,
    }
}

impl Cloud {
    pub(super) fn new(settings: &FakeSettings) -> Self {
        let types = settings.instance_types.clone();
        Self {
            rng: ChaCha8Rng::seed_from_u64(settings.seed),
            records: BTreeMap::new(),
            tokens: BTreeMap::new(),
            limits: Vec::new(),
            unavailable: BTreeMap::new(),
            catalog: Arc::new(Catalog {
                version: 1,
                instance_types: types.clone(),
            }),
            types,
            image_id: settings.image_id.clone(),
            class_problem: None,
            announced: Vec::new(),
            announcements: 0,
            launched: 0,
            seen: Vec::new(),
        }
    }

    /// Fails a call now and then.
    pub(super) fn maybe_fail(&mut self, rate: f64, call: &'static str) -> Result<(), Error> {
        if rate <= 0.0 {
            return Ok(());
        }
        let draw = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        if draw < rate {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{call} failed: the cloud does not answer"),
            ));
        }
        Ok(())
    }

    /// The instance that a token bought, if it did.
    pub(super) fn of_token(&self, token: &str) -> Option<&Record> {
        self.records.get(self.tokens.get(token)?)
    }

    /// Everything that could be bought for a claim, in the order in which it is tried: price, then reserved before spot
    /// before on-demand, then type and zone. What is marked as unavailable is left out.
    pub(super) fn choices(
        &mut self,
        asked: &Requirements,
        requests: &ResourceList,
        now: Instant,
    ) -> Vec<Choice> {
        let catalog = self.catalog(now);
        let mut choices: Vec<Choice> = catalog
            .instance_types
            .iter()
            .filter(|it| it.requirements.intersects(asked).is_ok() && requests.fits(&it.allocatable()))
            .flat_map(|it| {
                let choice = |offering: &Offering| Choice {
                    instance_type: Arc::clone(it),
                    offering: offering.clone(),
                };
                it.available_offerings(asked).map(choice).collect::<Vec<_>>()
            })
            .collect();
        choices.sort_by(|a, b| {
            a.offering
                .price
                .total_cmp(&b.offering.price)
                .then(a.offering.capacity_type.cmp(&b.offering.capacity_type))
                .then_with(|| a.key().cmp(&b.key()))
        });
        choices
    }

    /// Whether another instance of an offering can run.
    pub(super) fn has_capacity(&self, key: &OfferingKey, now: Instant) -> bool {
        self.limits
            .iter()
            .filter(|limit| (limit.which)(key))
            .all(|limit| {
                let running = self.records.values().filter(|record| !record.is_gone(now));
                running
                    .filter(|record| (limit.which)(&key_of_instance(&record.instance)))
                    .count()
                    < limit.most
            })
    }

    /// Marks an offering as short until `until`.
    pub(super) fn mark_unavailable(&mut self, key: OfferingKey, until: Instant, since: jiff::Timestamp) {
        self.unavailable.insert(key, (until, since));
        self.rebuild();
    }

    /// What can be bought now. The same value and version as long as nothing changes.
    pub(super) fn catalog(&mut self, now: Instant) -> Arc<Catalog> {
        let before = self.unavailable.len();
        self.unavailable.retain(|_, (until, _)| *until > now);
        if self.unavailable.len() != before {
            self.rebuild();
        }
        Arc::clone(&self.catalog)
    }

    pub(super) fn set_price(&mut self, which: impl Fn(&OfferingKey) -> bool, price: f64) {
        for it in &mut self.types {
            let mut changed = InstanceType::clone(it);
            for offering in &mut changed.offerings {
                if which(&key_of(it, offering)) {
                    offering.price = price;
                }
            }
            *it = Arc::new(changed);
        }
        self.rebuild();
    }

    fn rebuild(&mut self) {
        let mark = |it: &Arc<InstanceType>| {
            let short = |offering: &Offering| {
                self.unavailable
                    .get(&key_of(it, offering))
                    .map(|(_, since)| *since)
            };
            if it.offerings.iter().all(|offering| short(offering).is_none()) {
                return Arc::clone(it);
            }
            let mut marked = InstanceType::clone(it);
            for offering in &mut marked.offerings {
                offering.unavailable_since = short(offering);
                offering.available = offering.available && offering.unavailable_since.is_none();
            }
            Arc::new(marked)
        };
        let instance_types = self.types.iter().map(mark).collect();
        self.catalog = Arc::new(Catalog {
            version: self.catalog.version + 1,
            instance_types,
        });
    }

    /// The next instance id: `i-` and 17 hexadecimal digits.
    pub(super) fn next_id(&mut self) -> String {
        let number = (u128::from(self.rng.next_u64()) << 64) | u128::from(self.rng.next_u64());
        format!("i-{:017x}", number & ((1 << 68) - 1))
    }

    pub(super) fn insert(&mut self, token: &str, record: Record) {
        self.launched += 1;
        self.tokens.insert(token.to_owned(), record.instance.id.clone());
        self.records.insert(record.instance.id.clone(), record);
    }

    /// Whether the instance is (still) there.
    pub(super) fn find(&self, id: &ProviderId, now: Instant) -> Option<&Record> {
        self.records.get(id).filter(|record| !record.is_gone(now))
    }

    /// Returns an instance, gone at `at` unless it goes earlier.
    pub(super) fn end(&mut self, id: &ProviderId, at: Instant) {
        if let Some(record) = self.records.get_mut(id) {
            record.ending = true;
            record.gone_at = Some(record.gone_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    pub(super) fn interrupt(&mut self, id: &ProviderId, kind: InterruptionKind, end: Instant) {
        self.announcements += 1;
        let announced = Announced {
            number: self.announcements,
            instance: id.clone(),
            kind,
            visible_at: Instant::now(),
        };
        self.announced.push(announced);
        let ends = matches!(kind, InterruptionKind::SpotInterrupted);
        if let Some(record) = self.records.get_mut(id).filter(|_| ends) {
            record.gone_at = Some(record.gone_at.map_or(end, |earlier| earlier.min(end)));
        }
    }

    /// Machines that run at `now`, by name.
    pub(super) fn running(&self, now: Instant) -> Vec<Machine> {
        let running = self.records.values().filter(|record| record.runs(now));
        let mut machines: Vec<Machine> = running.map(|record| record.machine.clone()).collect();
        machines.sort_by(|a, b| a.node_name.cmp(&b.node_name));
        machines
    }

    /// When a machine next comes up or goes away.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let times = self
            .records
            .values()
            .flat_map(|record| [Some(record.runs_at), record.gone_at]);
        times.flatten().filter(|at| *at > now).min()
    }
}

fn key_of_instance(instance: &Instance) -> OfferingKey {
    OfferingKey {
        instance_type: instance.instance_type.clone(),
        zone: instance.zone.clone(),
        capacity_type: instance.capacity_type,
    }
}
