//! Random programs against the naive model.

use crate::hub_model::run;

#[test]
fn clients_of_random_programs_receive_every_event_or_are_told() {
    let runs = std::env::var("HUB_RUNS").map_or(60, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        let mut random = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        let length = random.usize(20..400);
        let program: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        run(&program);
    }
}
