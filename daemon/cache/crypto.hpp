// SPDX-License-Identifier: Apache-2.0
// OpenSSL behind our own types: keys, signatures, SHA-256. ECDSA P-256 and Ed25519, nothing else.
#pragma once

#include "base/error.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

extern "C" {
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_ctx_st EVP_MD_CTX;
}

namespace fallbackd::cache {

using Digest = std::array<std::byte, 32>;

struct KeyDeleter {
  void operator()(EVP_PKEY* key) const;
};
using KeyPtr = std::unique_ptr<EVP_PKEY, KeyDeleter>;

/// A public key as published by its owner (PEM SubjectPublicKeyInfo).
class PublicKey {
 public:
  /// Accepts exactly one key. Reason keyring_invalid for anything else.
  static Result<PublicKey> parse(std::string_view pem, const std::string& what);

  /// Whether `signature` (DER for ECDSA, 64 bytes for Ed25519) is this key's signature of `message`.
  [[nodiscard]] bool verifies(std::string_view message, std::string_view signature) const;
  /// SHA-256 of the DER: identifies the key in our lists and in bundle hints.
  [[nodiscard]] const Digest& fingerprint() const { return fingerprint_; }
  [[nodiscard]] std::string fingerprintHex() const;

 private:
  PublicKey(KeyPtr key, Digest fingerprint) : key_(std::move(key)), fingerprint_(fingerprint) {}
  KeyPtr key_;
  Digest fingerprint_;
};

enum class KeyType : std::uint8_t { p256, ed25519 };

class PrivateKey {
 public:
  static Result<PrivateKey> generate(KeyType type);
  using Passphrase = std::function<Result<std::string>()>;

  /// PKCS#8 PEM. Calls `passphrase` only for an encrypted key. Reasons invalid (no such key, or a wrong
  /// passphrase), and those of `passphrase`.
  static Result<PrivateKey> parse(std::string_view pem, const std::string& what,
                                  const Passphrase& passphrase = {});

  [[nodiscard]] Result<std::string> sign(std::string_view message) const;
  [[nodiscard]] Result<std::string> privatePem() const;
  /// The same, encrypted in a form that OpenSSL reads: PBES2 with AES-256-CBC and 600,000 rounds of PBKDF2
  /// with HMAC-SHA-256.
  [[nodiscard]] Result<std::string> encryptedPem(const std::string& passphrase) const;
  [[nodiscard]] Result<std::string> publicPem() const;

 private:
  explicit PrivateKey(KeyPtr key) : key_(std::move(key)) {}
  KeyPtr key_;
};

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  [[nodiscard]] Digest finish();
  static Digest of(std::string_view bytes);

 private:
  EVP_MD_CTX* context_;
};

}  // namespace fallbackd::cache
