//! Random programs against the naive model.

use crate::keyed_model::run;

#[test]
fn clients_of_random_programs_have_the_publishers_map() {
    let runs = std::env::var("KEYED_RUNS").map_or(60, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        let mut random = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        let length = random.usize(20..300);
        let program: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        run(&program);
    }
}
