// SPDX-License-Identifier: Apache-2.0
#include "cache/crypto.hpp"

#include "base/strings.hpp"

#include <cstdlib>
#include <string>
#include <vector>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

namespace fallbackd::cache {

namespace {

using BioPtr = std::unique_ptr<BIO, decltype(&BIO_free)>;
using ContextPtr = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

BioPtr readerOf(std::string_view text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

const unsigned char* bytesOf(std::string_view text) {
  return static_cast<const unsigned char*>(static_cast<const void*>(text.data()));
}

/// The reason of OpenSSL's last error; empties the thread's error queue.
std::string opensslReason() {
  const auto code = ERR_peek_last_error();
  ERR_clear_error();
  const char* text = ERR_reason_error_string(code);
  return text == nullptr ? "unknown OpenSSL error" : text;
}

/// Ed25519 hashes internally; ECDSA is used with SHA-256, as cosign does.
const EVP_MD* digestFor(const EVP_PKEY* key) {
  return EVP_PKEY_is_a(key, "ED25519") == 1 ? nullptr : EVP_sha256();
}

bool isAllowed(const EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "ED25519") == 1) return true;
  if (EVP_PKEY_is_a(key, "EC") != 1) return false;
  std::array<char, 64> group{};
  std::size_t size = 0;
  return EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) == 1 &&
         std::string_view(group.data(), size) == "prime256v1";
}

Result<std::string> derOf(const EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size <= 0) return fail(Stage::admission, Reason::internal, "encode public key: " + opensslReason());
  std::string bytes(static_cast<const char*>(static_cast<const void*>(der)), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return bytes;
}

std::string contentOf(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

/// Gives OpenSSL the passphrase in `data`, a std::string.
int givePassphrase(char* buffer, int size, int /*writing*/, void* data) {
  const auto& text = *static_cast<const std::string*>(data);
  if (size < 0 || text.size() > static_cast<std::size_t>(size)) return -1;
  return static_cast<int>(text.copy(buffer, text.size()));
}

/// Does not prompt for the password of an encrypted key.
int noPassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) {
  return -1;
}

}  // namespace

void KeyDeleter::operator()(EVP_PKEY* key) const {
  EVP_PKEY_free(key);
}

Result<PublicKey> PublicKey::parse(std::string_view pem, const std::string& what) {
  const auto bio = readerOf(pem);
  KeyPtr key(PEM_read_bio_PUBKEY(bio.get(), nullptr, &noPassword, nullptr));
  if (key == nullptr) {
    ERR_clear_error();
    return fail(Stage::admission, Reason::keyring_invalid,
                what + " is not a PEM public key (BEGIN PUBLIC KEY)");
  }
  if (pem.find("-----BEGIN", pem.find("-----END")) != std::string_view::npos) {
    return fail(Stage::admission, Reason::keyring_invalid,
                what + " holds more than one key; write one file for each");
  }
  if (!isAllowed(key.get())) {
    return fail(Stage::admission, Reason::keyring_invalid,
                what + " is neither an ECDSA P-256 nor an Ed25519 key");
  }
  FB_TRY(const auto der, derOf(key.get()));
  return PublicKey(std::move(key), Sha256::of(der));
}

bool PublicKey::verifies(std::string_view message, std::string_view signature) const {
  const ContextPtr context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  const bool good =
      context != nullptr &&
      EVP_DigestVerifyInit(context.get(), nullptr, digestFor(key_.get()), nullptr, key_.get()) == 1 &&
      EVP_DigestVerify(context.get(), bytesOf(signature), signature.size(), bytesOf(message),
                       message.size()) == 1;
  ERR_clear_error();
  return good;
}

std::string PublicKey::fingerprintHex() const {
  return toHex(fingerprint_);
}

Result<PrivateKey> PrivateKey::generate(KeyType type) {
  KeyPtr key(type == KeyType::ed25519 ? EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")
                                      : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
  if (key == nullptr) return fail(Stage::cli, Reason::internal, "generate key: " + opensslReason());
  return PrivateKey(std::move(key));
}

Result<PrivateKey> PrivateKey::parse(std::string_view pem, const std::string& what,
                                     const Passphrase& passphrase) {
  for (const std::string_view sealed : {"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"}) {
    if (pem.find(sealed) == std::string_view::npos) continue;
    return fail(Stage::cli, Reason::invalid,
                what + " is a key of cosign, which only cosign opens; sign with cosign attest-blob --key");
  }
  const bool encrypted = pem.find("-----BEGIN ENCRYPTED PRIVATE KEY-----") != std::string_view::npos;
  std::string opening;
  if (encrypted && passphrase) {
    FB_TRY(opening, passphrase());
  }
  const auto bio = readerOf(pem);
  KeyPtr key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, encrypted ? &givePassphrase : &noPassword, &opening));
  OPENSSL_cleanse(opening.data(), opening.size());
  if (key == nullptr) {
    ERR_clear_error();
    return fail(Stage::cli, Reason::invalid,
                encrypted ? what + " is not opened by this passphrase, or is damaged"
                          : what + " is not a private key in PEM (PKCS#8); make one with fallbackctl keygen");
  }
  if (!isAllowed(key.get())) {
    return fail(Stage::cli, Reason::invalid, what + " is neither an ECDSA P-256 nor an Ed25519 key");
  }
  return PrivateKey(std::move(key));
}

Result<std::string> PrivateKey::sign(std::string_view message) const {
  const ContextPtr context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  std::size_t size = 0;
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, digestFor(key_.get()), nullptr, key_.get()) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, bytesOf(message), message.size()) != 1) {
    return fail(Stage::cli, Reason::internal, "sign: " + opensslReason());
  }
  std::vector<unsigned char> signature(size);
  if (EVP_DigestSign(context.get(), signature.data(), &size, bytesOf(message), message.size()) != 1) {
    return fail(Stage::cli, Reason::internal, "sign: " + opensslReason());
  }
  return std::string(signature.begin(), signature.begin() + static_cast<std::ptrdiff_t>(size));
}

Result<std::string> PrivateKey::privatePem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (bio == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return fail(Stage::cli, Reason::internal, "write private key: " + opensslReason());
  }
  return contentOf(bio.get());
}

Result<std::string> PrivateKey::encryptedPem(const std::string& passphrase) const {
  constexpr int kRounds = 600'000;
  using InfoPtr = std::unique_ptr<PKCS8_PRIV_KEY_INFO, decltype(&PKCS8_PRIV_KEY_INFO_free)>;
  using SealedPtr = std::unique_ptr<X509_SIG, decltype(&X509_SIG_free)>;
  const InfoPtr info(EVP_PKEY2PKCS8(key_.get()), &PKCS8_PRIV_KEY_INFO_free);
  X509_ALGOR* method = PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), kRounds, nullptr, 0, nullptr, NID_hmacWithSHA256);
  const SealedPtr sealed(
      info == nullptr || method == nullptr
          ? nullptr
          : PKCS8_set0_pbe(passphrase.data(), static_cast<int>(passphrase.size()), info.get(), method),
      &X509_SIG_free);
  const BioPtr bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (sealed == nullptr || bio == nullptr || PEM_write_bio_PKCS8(bio.get(), sealed.get()) != 1) {
    if (sealed == nullptr) X509_ALGOR_free(method);
    return fail(Stage::cli, Reason::internal, "encrypt private key: " + opensslReason());
  }
  return contentOf(bio.get());
}

Result<std::string> PrivateKey::publicPem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (bio == nullptr || PEM_write_bio_PUBKEY(bio.get(), key_.get()) != 1) {
    return fail(Stage::cli, Reason::internal, "write public key: " + opensslReason());
  }
  return contentOf(bio.get());
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr || EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) != 1) std::abort();
}
Sha256::~Sha256() {
  EVP_MD_CTX_free(context_);
}
void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_, bytes.data(), bytes.size()) != 1) std::abort();
}
Digest Sha256::finish() {
  Digest digest{};
  if (EVP_DigestFinal_ex(context_, static_cast<unsigned char*>(static_cast<void*>(digest.data())), nullptr) !=
      1) {
    std::abort();
  }
  return digest;
}
Digest Sha256::of(std::string_view bytes) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(bytes)));
  return hash.finish();
}

}  // namespace fallbackd::cache
