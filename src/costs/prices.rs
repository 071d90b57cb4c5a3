//! Prices of Fargate, USD per hour: those of AWS's price list as public files quote them, and what a configuration says
//! instead.

/// What a task runs on, as far as it has a price of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    /// Linux on x86.
    LinuxX86,
    /// Linux on Graviton.
    LinuxArm,
    /// Windows, with the fee for its licence.
    Windows,
}

impl Platform {
    /// All of them, by the names that configurations and reports use.
    pub const ALL: [(&'static str, Self); 3] =
        [("x86_64", Self::LinuxX86), ("arm64", Self::LinuxArm), ("windows", Self::Windows)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, platform)| *platform == self).map_or("", |(name, _)| name)
    }
}

/// Whether the capacity can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capacity {
    /// On demand.
    Fargate,
    /// Spare capacity, which has no fixed price.
    FargateSpot,
}

impl Capacity {
    /// As ECS calls its provider.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fargate => "FARGATE",
            Self::FargateSpot => "FARGATE_SPOT",
        }
    }
}

/// What an hour costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Of a vCPU.
    pub vcpu_hour: f64,
    /// Of a GB of memory.
    pub gb_hour: f64,
}

/// Prices that a configuration brings along. They hold wherever its tasks run; what it leaves out is as listed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices {
    /// Of tasks, each at most once.
    pub rates: Vec<(Capacity, Platform, Rate)>,
    /// Of a GB of ephemeral storage beyond the first 20.
    pub storage_gb_hour: Option<f64>,
}

/// What Fargate costs in a region. What nobody could look up is not there: then there is no estimate.
#[derive(Debug, Clone, Copy)]
pub struct ListedRegion {
    /// The region.
    pub region: &'static str,
    /// Where the prices were read.
    pub quote: Quote,
    /// Linux on x86.
    pub x86: Rate,
    /// Linux on Graviton.
    pub arm: Option<Rate>,
    /// A GB of ephemeral storage beyond the first 20.
    pub storage_gb_hour: Option<f64>,
}

/// A public file that repeats prices of AWS's list. Nobody of this project has opened the list itself.
#[derive(Debug, Clone, Copy)]
pub struct Quote {
    /// A repository of GitHub, and the file's path in it.
    pub file: &'static str,
    /// The day on which the list was published that is quoted; where the file does not tell, the day on which it was read.
    pub as_of: &'static str,
    /// The version of that list, which is the moment of its publication. `None`: the file does not tell.
    pub version: Option<&'static str>,
}

impl Quote {
    const fn read(file: &'static str, as_of: &'static str) -> Self {
        Self { file, as_of, version: None }
    }

    const fn version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }
}

impl ListedRegion {
    /// Where AWS itself lists the prices, with their SKUs: what to compare them with. A version stays as it was.
    pub fn list(&self) -> String {
        let version = self.quote.version.unwrap_or("current");
        format!(
            "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonECS/{version}/{}/index.json",
            self.region
        )
    }

    const fn of(region: &'static str, quote: Quote, (vcpu_hour, gb_hour): (f64, f64)) -> Self {
        Self { region, quote, x86: Rate { vcpu_hour, gb_hour }, arm: None, storage_gb_hour: None }
    }

    const fn arm(self, (vcpu_hour, gb_hour): (f64, f64)) -> Self {
        Self { arm: Some(Rate { vcpu_hour, gb_hour }), ..self }
    }

    const fn storage(self, gb_hour: f64) -> Self {
        Self { storage_gb_hour: Some(gb_hour), ..self }
    }
}

/// Usage types `…Fargate-vCPU-Hours:perCPU` and `…Fargate-GB-Hours`, those with `-ARM-`, and
/// `…Fargate-EphemeralStorage-GB-Hours`. A region gets a line, and a line a price, when somebody has read it somewhere that
/// others can find, and says where and of which day.
pub const LISTED: &[ListedRegion] = &[
    ListedRegion::of(
        "us-east-1",
        Quote::read("alhucave/ticketflow docs/aws.md", "2026-09-11").version("20260911124425"),
        (0.04048, 0.004_445),
    )
    .arm((0.03238, 0.00356)),
    ListedRegion::of(
        "us-east-2",
        Quote::read("UltravioletaDAO/x402-rs scripts/bench/cost_model.py", "2026-09-10"),
        (0.04048, 0.004_445),
    )
    .arm((0.03238, 0.00356)),
    ListedRegion::of(
        "eu-west-1",
        Quote::read("amartinawi/cost-optimization-scanner docs/audits/AUDIT-10-Containers.md", "2026-05-01"),
        (0.04048, 0.004_445),
    )
    .arm((0.03238, 0.00356)),
    ListedRegion::of(
        "eu-west-2",
        Quote::read("ImperialEdutechUK/sadeevtest docs/hosting-costs.md", "2026-09-11"),
        (0.04656, 0.00511),
    )
    .arm((0.03725, 0.00409))
    .storage(0.000_129),
    ListedRegion::of(
        "eu-central-1",
        Quote::read(
            "Knaeckebrothero/Superhuman-Remote-Worker orchestrator/database/migrations/app/0082_usage_cloud_rate_cards.sql",
            "2026-08-05",
        ),
        (0.04656, 0.00511),
    ),
    ListedRegion::of(
        "ap-northeast-1",
        Quote::read("mirrorstack-ai/billing-engine migrations/billing/051_heavy_tier_rates.up.sql", "2026-07-07")
            .version("20260707160651"),
        (0.05056, 0.00553),
    )
    .arm((0.04045, 0.00442)),
];

/// What a task's hour costs: as the configuration says, else as listed. Spot and Windows are only in configurations.
pub fn rate(configured: Option<&Prices>, region: &str, capacity: Capacity, platform: Platform) -> Option<Rate> {
    let own = configured.into_iter().flat_map(|prices| &prices.rates);
    let own = own.clone().find(|(of, on, _)| (*of, *on) == (capacity, platform)).map(|(.., rate)| *rate);
    own.or_else(|| match (capacity, platform) {
        (Capacity::Fargate, Platform::LinuxX86) => Some(listed(region)?.x86),
        (Capacity::Fargate, Platform::LinuxArm) => listed(region)?.arm,
        _ => None,
    })
}

/// What a GB of ephemeral storage costs beyond the first 20.
pub fn storage_gb_hour(configured: Option<&Prices>, region: &str) -> Option<f64> {
    configured.and_then(|prices| prices.storage_gb_hour).or_else(|| listed(region)?.storage_gb_hour)
}

fn listed(region: &str) -> Option<&'static ListedRegion> {
    LISTED.iter().find(|listed| listed.region == region)
}
