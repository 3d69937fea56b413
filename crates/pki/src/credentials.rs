//! The pair that signs EC2 requests. Both halves go through `novarc` files, shells and URLs
//! unquoted, so they hold nothing that one of these would touch.

use rand::Rng;

const ACCESS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Twenty capitals and digits, like EC2's; 100 bits, so that two are never the same.
pub fn new_access_key() -> String {
    draw(ACCESS, 20)
}

/// Forty letters and digits: 238 bits.
pub fn new_secret_key() -> String {
    draw(SECRET, 40)
}

fn draw(alphabet: &[u8], length: usize) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())]))
        .collect()
}
