// SPDX-License-Identifier: Apache-2.0
// The attack table: each row spoils one thing in an otherwise good cache and names the reason of the refusal.
// Without the guard, the row's binary would be admitted.
#include "cache/admission.hpp"

#include "attack_record.hpp"
#include "cache/cache.hpp"
#include "cache/json.hpp"
#include "signed_cache.hpp"

#include <fcntl.h>
#include <functional>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

namespace fallbackd::cache {
namespace {

using test::SignedCache;
using test::writeBytes;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

const std::string& good() {
  static const std::string bytes = test::program("elf-static-pie");
  return bytes;
}

PrivateKey otherKey() {
  return std::move(*PrivateKey::generate(KeyType::p256));
}

/// The bundle of `ref` with one text replaced by another.
void editBundle(const SignedCache& cache, const std::string& from, const std::string& to) {
  auto text = test::readBytes(cache.file(cache.ref.attestationName()));
  const auto at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  writeBytes(cache.file(cache.ref.attestationName()), text, 0644);
}

/// Signs a changed statement.
void resign(const SignedCache& cache, const std::function<void(Statement&)>& change) {
  auto statement = SignedCache::statementFor(cache.ref, good());
  change(statement);
  cache.put(cache.ref, good(), statement, cache.key);
}

/// Signs exactly this payload.
void signPayload(const SignedCache& cache, const std::string& payload) {
  const auto signature = cache.key.sign(preAuthEncoding(kPayloadType, payload));
  writeBytes(cache.file(cache.ref.attestationName()),
             R"({"payloadType":"application/vnd.in-toto+json","payload":")" + encodeBase64(payload) +
                 R"(","signatures":[{"sig":")" + encodeBase64(*signature) + R"("}]})",
             0644);
}

std::string payloadOf(const SignedCache& cache) {
  return writeStatement(SignedCache::statementFor(cache.ref, good()));
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

/// The good program with its ELF header changed.
std::string withHeader(const std::function<void(Elf64_Ehdr&)>& change) {
  auto bytes = good();
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof header);
  change(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

std::string withExpiry(const SignedCache& cache, const std::string& expiry) {
  auto payload = payloadOf(cache);
  const std::string key = R"("expires":")";
  const auto at = payload.find(key) + key.size();
  return payload.replace(at, payload.find('"', at) - at, expiry);
}

constexpr uid_t kSomebody = 1000;
void giveAway(const std::string& path) {
  ASSERT_EQ(::lchown(path.c_str(), kSomebody, kSomebody), 0) << "needs root";
}

/// Adds a signer with a statement that differs from the first one's.
void addSigner(const SignedCache& cache, const std::function<void(Statement&)>& change) {
  const auto second = otherKey();
  cache.addKey("two", second);
  auto statement = SignedCache::statementFor(cache.ref, good());
  change(statement);
  writeBytes(cache.file(cache.ref.fileName() + ".z.sigstore.json"), *signStatement(statement, second), 0644);
}

struct Attack {
  const char* name;
  Reason reason;
  std::function<void(SignedCache&, config::CacheSettings&)> spoil;

  friend void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }
};

const std::vector<Attack>& attacks() {
  using C = SignedCache;
  using S = config::CacheSettings;
  static const std::vector<Attack> rows{
      {"flipped byte", Reason::digest_mismatch,
       [](C& c, S&) {
         auto bytes = good();
         bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
         writeBytes(c.file(c.ref.fileName()), bytes);
       }},
      {"byte appended", Reason::digest_mismatch,
       [](C& c, S&) { writeBytes(c.file(c.ref.fileName()), good() + "x"); }},
      {"binary missing", Reason::not_found, [](C& c, S&) { fs::remove(c.file(c.ref.fileName())); }},
      {"attestation missing", Reason::attestation_missing,
       [](C& c, S&) { fs::remove(c.file(c.ref.attestationName())); }},
      {"signed by another key", Reason::untrusted_key,
       [](C& c, S&) { c.put(c.ref, good(), C::statementFor(c.ref, good()), otherKey()); }},
      {"key removed from the ring", Reason::untrusted_key,
       [](C& c, S&) {
         fs::remove(c.path("keys/one.pub"));
         c.addKey("two", otherKey());
       }},
      {"renamed older version", Reason::version_mismatch,
       [](C& c, S&) {
         const BinaryRef older{c.ref.name, "1.0.0"};
         c.put(older, good());
         fs::rename(c.file(older.fileName()), c.file(c.ref.fileName()));
         fs::rename(c.file(older.attestationName()), c.file(c.ref.attestationName()));
       }},
      {"another program under this name", Reason::name_mismatch,
       [](C& c, S&) {
         const BinaryRef other{"cart", c.ref.version};
         c.put(other, good());
         fs::rename(c.file(other.fileName()), c.file(c.ref.fileName()));
         fs::rename(c.file(other.attestationName()), c.file(c.ref.attestationName()));
       }},
      {"older than what ran before", Reason::version_rollback,
       [](C& c, S&) {
         ASSERT_TRUE(VersionFloor::open(c.path("state"))->raise({c.ref.name, "1.9.0"}));
       }},
      {"below its minimum version", Reason::version_rollback,
       [](C& c, S&) { resign(c, [](Statement& s) { s.minimumVersion = "2.0"; }); }},
      {"expired", Reason::expired,
       [](C& c, S&) { resign(c, [](Statement& s) { s.expires = Clock::system().wall() - 1h; }); }},
      {"expired beyond the grace", Reason::expired,
       [](C& c, S& s) {
         s.expiryGrace = 30min;
         resign(c, [](Statement& t) { t.expires = Clock::system().wall() - 1h; });
       }},
      {"another architecture", Reason::arch_mismatch,
       [](C& c, S&) { resign(c, [](Statement& s) { s.arch = "mips"; }); }},
      {"another system", Reason::os_mismatch,
       [](C& c, S&) { resign(c, [](Statement& s) { s.os = "plan9"; }); }},
      {"revoked digest", Reason::revoked,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         writeBytes(*s.revoked, "# bad ones\nsha256:" + toHex(Sha256::of(good())) + "  # leaked\n", 0644);
       }},
      {"revocation list missing", Reason::not_found, [](C& c, S& s) { s.revoked = c.path("revoked"); }},
      {"revocation list with two digests on a line", Reason::invalid,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         writeBytes(*s.revoked, std::string(64, '0') + " " + toHex(Sha256::of(good())) + "\n", 0644);
       }},
      {"revocation list in another alphabet", Reason::invalid,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         std::string wide;
         for (const char one : toHex(Sha256::of(good()))) wide.append({one, '\0'});
         writeBytes(*s.revoked, wide, 0644);
       }},
      {"revocation list with a typo", Reason::invalid,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         writeBytes(*s.revoked, "# bad\nsha256:" + toHex(Sha256::of(good())).substr(1) + "\n", 0644);
       }},
      {"key that is not valid yet", Reason::untrusted_key,
       [](C& c, S&) { c.addKey("one", c.key, "fallbackd-not-before: 2199-01-01\n"); }},
      {"expired key", Reason::expired,
       [](C& c, S&) { c.addKey("one", c.key, "fallbackd-not-after: 2020-01-01\n"); }},
      {"key with a misspelt limit", Reason::keyring_invalid,
       [](C& c, S&) { c.addKey("one", c.key, "fallbackd-not-afetr: 2020-01-01\n"); }},
      {"expired key whose older limit stands below", Reason::expired,
       [](C& c, S&) {
         c.addKey("one", c.key, "fallbackd-not-after: 2020-01-01\nfallbackd-not-after: 2199-01-01\n");
       }},
      {"key that is not valid yet, with an older limit below", Reason::untrusted_key,
       [](C& c, S&) {
         c.addKey("one", c.key, "fallbackd-not-before: 2199-01-01\nfallbackd-not-before: 2020-01-01\n");
       }},
      {"expired key whose limit stands below its block", Reason::expired,
       [](C& c, S&) {
         writeBytes(c.path("keys/one.pub"), *c.key.publicPem() + "fallbackd-not-after: 2020-01-01\n", 0644);
       }},
      {"expired key behind a byte order mark", Reason::expired,
       [](C& c, S&) {
         c.addKey("one", c.key,
                  "\xef\xbb\xbf"
                  "fallbackd-not-after: 2020-01-01\n");
       }},
      {"same key again without its limit", Reason::expired,
       [](C& c, S&) {
         c.addKey("one", c.key, "fallbackd-not-after: 2020-01-01\n");
         c.addKey("two", c.key);
       }},
      {"same key again with its limit in the second file", Reason::expired,
       [](C& c, S&) { c.addKey("two", c.key, "fallbackd-not-after: 2020-01-01\n"); }},
      {"same key again, not valid yet by the second file", Reason::untrusted_key,
       [](C& c, S&) { c.addKey("two", c.key, "fallbackd-not-before: 2199-01-01\n"); }},
      {"same key again, not valid yet by the first file", Reason::untrusted_key,
       [](C& c, S&) {
         c.addKey("one", c.key, "fallbackd-not-before: 2199-01-01\n");
         c.addKey("two", c.key);
       }},
      {"key that expired in 1700", Reason::keyring_invalid,
       [](C& c, S&) { c.addKey("one", c.key, "fallbackd-not-after: 1700-01-01\n"); }},
      {"key that expired in 1990", Reason::keyring_invalid,
       [](C& c, S&) { c.addKey("one", c.key, "fallbackd-not-after: 1990-01-01\n"); }},
      {"key that expired in 2000", Reason::expired,
       [](C& c, S&) { c.addKey("one", c.key, "fallbackd-not-after: 2000-01-01\n"); }},
      {"second signer's key has expired", Reason::expired,
       [](C& c, S& s) {
         s.threshold = 2;
         const auto second = otherKey();
         c.addKey("two", second, "fallbackd-not-after: 2020-01-01\n");
         writeBytes(c.file(c.ref.fileName() + ".second.sigstore.json"),
                    *signStatement(C::statementFor(c.ref, good()), second), 0644);
       }},
      {"threshold met by one key twice", Reason::threshold_not_met,
       [](C& c, S& s) {
         s.threshold = 2;
         c.addKey("same-key-again", c.key);
         fs::copy_file(c.file(c.ref.attestationName()), c.file(c.ref.fileName() + ".second.sigstore.json"));
       }},
      {"contradicting attestations", Reason::attestation_malformed,
       [](C& c, S&) {
         const auto statement = C::statementFor(c.ref, "other bytes");
         writeBytes(c.file(c.ref.fileName() + ".b.sigstore.json"), *signStatement(statement, c.key), 0644);
       }},
      {"payload changed after signing", Reason::untrusted_key,
       [](C& c, S&) {
         const auto payload = payloadOf(c);
         signPayload(c, payload);
         editBundle(c, encodeBase64(payload), encodeBase64(replaced(payload, "1.8.3", "1.8.4")));
       }},
      {"two signatures in a bundle", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"("signatures":[)", R"("signatures":[{"sig":"AAAA"},)"); }},
      {"certificate in the bundle", Reason::attestation_unsupported,
       [](C& c, S&) {
         editBundle(c, R"("publicKey":)", R"("certificate":{"rawBytes":"AAAA"},"publicKey":)");
       }},
      {"message signature instead", Reason::attestation_unsupported,
       [](C& c, S&) { editBundle(c, R"("dsseEnvelope":)", R"("messageSignature":{},"dsseEnvelope":)"); }},
      {"unknown media type", Reason::attestation_unsupported,
       [](C& c, S&) { editBundle(c, "v0.3+json", "v9+json"); }},
      {"other payload type", Reason::attestation_unsupported,
       [](C& c, S&) { editBundle(c, "vnd.in-toto+json", "vnd.other+json"); }},
      {"trailing bytes", Reason::attestation_malformed,
       [](C& c, S&) {
         writeBytes(c.file(c.ref.attestationName()), test::readBytes(c.file(c.ref.attestationName())) + "{}",
                    0644);
       }},
      {"duplicate key in the bundle", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"({"mediaType")", R"({"mediaType":"x","mediaType")"); }},
      {"duplicate key in the statement", Reason::attestation_malformed,
       [](C& c, S&) {
         signPayload(c, replaced(payloadOf(c), R"("version":)", R"("version":"9","version":)"));
       }},
      {"huge attestation", Reason::attestation_malformed,
       [](C& c, S&) { writeBytes(c.file(c.ref.attestationName()), std::string(2 << 20, ' '), 0644); }},
      {"deep nesting", Reason::attestation_malformed,
       [](C& c, S&) { writeBytes(c.file(c.ref.attestationName()), std::string(100000, '['), 0644); }},
      {"empty attestation", Reason::attestation_malformed,
       [](C& c, S&) { writeBytes(c.file(c.ref.attestationName()), "", 0644); }},
      {"base64 with line breaks", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"("payload":")", R"("payload":"\n)"); }},
      {"two subjects", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), R"("subject":[)", R"("subject":[{},)")); }},
      {"other predicate type", Reason::attestation_unsupported,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), "binary/v1", "image/v1")); }},
      {"unknown condition", Reason::attestation_unsupported,
       [](C& c, S&) {
         signPayload(c, replaced(payloadOf(c), R"("name":"checkout",)", R"("name":"checkout","only":"x",)"));
       }},
      {"version as a number", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), R"("version":"1.8.3")", R"("version":1.8)")); }},
      {"symlink as the binary", Reason::unsafe_path,
       [](C& c, S&) {
         fs::rename(c.file(c.ref.fileName()), c.path("elsewhere"));
         fs::create_symlink(c.path("elsewhere"), c.file(c.ref.fileName()));
       }},
      {"symlink as the attestation", Reason::unsafe_path,
       [](C& c, S&) {
         fs::rename(c.file(c.ref.attestationName()), c.path("elsewhere"));
         fs::create_symlink(c.path("elsewhere"), c.file(c.ref.attestationName()));
       }},
      {"hard link to the binary", Reason::unsafe_file_type,
       [](C& c, S&) { fs::create_hard_link(c.file(c.ref.fileName()), c.path("other-name")); }},
      {"FIFO as the binary", Reason::unsafe_file_type,
       [](C& c, S&) {
         fs::remove(c.file(c.ref.fileName()));
         ASSERT_EQ(::mkfifo(c.file(c.ref.fileName()).c_str(), 0600), 0);
       }},
      {"folder as the binary", Reason::unsafe_file_type,
       [](C& c, S&) {
         fs::remove(c.file(c.ref.fileName()));
         fs::create_directory(c.file(c.ref.fileName()));
       }},
      {"set-uid binary", Reason::unsafe_file_type,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.file(c.ref.fileName()).c_str(), 04755), 0); }},
      {"binary writable by others", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.file(c.ref.fileName()).c_str(), 0757), 0); }},
      {"cache writable by its group", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.path("cache").c_str(), 0775), 0); }},
      {"keys writable by others", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.path("keys").c_str(), 0777), 0); }},
      {"keyring empty", Reason::keyring_invalid, [](C& c, S&) { fs::remove(c.path("keys/one.pub")); }},
      {"no key file in the ring", Reason::keyring_invalid,
       [](C& c, S&) { writeBytes(c.path("keys/two.pub"), "not a key", 0644); }},
      {"two keys in one file", Reason::keyring_invalid,
       [](C& c, S&) {
         writeBytes(c.path("keys/two.pub"), *c.key.publicPem() + *otherKey().publicPem(), 0644);
       }},
      {"hint that names a trusted key", Reason::untrusted_key,
       [](C& c, S&) {
         auto bundle = *signStatement(C::statementFor(c.ref, good()), otherKey());
         const auto print = PublicKey::parse(*c.key.publicPem(), "it")->fingerprint();
         const std::string hint(static_cast<const char*>(static_cast<const void*>(print.data())),
                                print.size());
         const auto at = bundle.find(R"("hint":")") + 8;
         bundle.replace(at, bundle.find('"', at) - at, encodeBase64(hint));
         writeBytes(c.file(c.ref.attestationName()), bundle, 0644);
       }},
      {"keyid that names a trusted key", Reason::untrusted_key,
       [](C& c, S&) {
         auto bundle = *signStatement(C::statementFor(c.ref, good()), otherKey());
         const std::string from = R"({"sig":)";
         bundle.replace(bundle.find(from), from.size(), R"({"keyid":"one.pub","sig":)");
         writeBytes(c.file(c.ref.attestationName()), bundle, 0644);
       }},
      {"public key included in the bundle", Reason::untrusted_key,
       [](C& c, S&) {
         const auto key = otherKey();
         c.put(c.ref, good(), C::statementFor(c.ref, good()), key);
         writeBytes(c.file("one.pub"), *key.publicPem(), 0644);
       }},
      {"signature of another payload", Reason::untrusted_key,
       [](C& c, S&) {
         const auto other = *signStatement(C::statementFor(c.ref, "other"), c.key);
         const auto mine = test::readBytes(c.file(c.ref.attestationName()));
         const auto sig = [](const std::string& text) {
           const auto at = text.find(R"("sig":")") + 7;
           return text.substr(at, text.find('"', at) - at);
         };
         editBundle(c, sig(mine), sig(other));
       }},
      {"signed without the payload type", Reason::untrusted_key,
       [](C& c, S&) {
         const auto payload = payloadOf(c);
         writeBytes(c.file(c.ref.attestationName()),
                    R"({"payloadType":"application/vnd.in-toto+json","payload":")" + encodeBase64(payload) +
                        R"(","signatures":[{"sig":")" + encodeBase64(*c.key.sign(payload)) + R"("}]})",
                    0644);
       }},
      {"base64 of both alphabets", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"("sig":")", R"("sig":"+_A)"); }},
      {"base64 with unused bits", Reason::attestation_malformed,
       [](C& c, S&) {
         auto statement = C::statementFor(c.ref, good());
         auto payload = writeStatement(statement);
         while (payload.size() % 3 != 1) payload.push_back(' ');
         signPayload(c, payload);
         editBundle(c, encodeBase64(payload), replaced(encodeBase64(payload), "==", "") + "==");
         auto text = test::readBytes(c.file(c.ref.attestationName()));
         const auto at = text.find("==") - 1;
         text[at] = static_cast<char>(text[at] + 1);
         writeBytes(c.file(c.ref.attestationName()), text, 0644);
       }},
      {"number instead of a string", Reason::attestation_unsupported,
       [](C& c, S&) {
         editBundle(c, R"("payloadType":"application/vnd.in-toto+json")", R"("payloadType":1)");
       }},
      {"device as the binary", Reason::unsafe_file_type,
       [](C& c, S&) {
         fs::remove(c.file(c.ref.fileName()));
         if (::mknod(c.file(c.ref.fileName()).c_str(), S_IFCHR | 0755, makedev(1, 5)) != 0) {
           // Not root: any special file will do.
           ASSERT_EQ(::mkfifo(c.file(c.ref.fileName()).c_str(), 0600), 0);
         }
       }},
      {"set-gid binary", Reason::unsafe_file_type,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.file(c.ref.fileName()).c_str(), 02755), 0); }},
      {"attestation writable by others", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.file(c.ref.attestationName()).c_str(), 0666), 0); }},
      {"cache writable by everybody", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.path("cache").c_str(), 0777), 0); }},
      {"folder above the cache writable by everybody", Reason::unsafe_owner,
       [](C& c, S& s) {
         fs::create_directory(c.path("above"));
         fs::rename(c.path("cache"), c.path("above/cache"));
         s.path = c.path("above/cache");
         ASSERT_EQ(::chmod(c.path("above").c_str(), 0777), 0);
       }},
      {"symlink on the way to the cache", Reason::unsafe_path,
       [](C& c, S& s) {
         fs::create_symlink(c.path("cache"), c.path("link"));
         s.path = c.path("link");
       }},
      {"symlink on the way to the keys", Reason::keyring_invalid,
       [](C& c, S& s) {
         fs::create_symlink(c.path("keys"), c.path("link"));
         s.keys = c.path("link");
       }},
      {"key file that is a symlink", Reason::keyring_invalid,
       [](C& c, S&) {
         fs::rename(c.path("keys/one.pub"), c.path("one.pub"));
         fs::create_symlink(c.path("one.pub"), c.path("keys/one.pub"));
       }},
      {"another file mounted over the binary", Reason::digest_mismatch,
       [](C& c, S&) {
         // Not root: the same bytes, without a mount.
         writeBytes(c.path("evil"), good() + "x");
         if (::mount(c.path("evil").c_str(), c.file(c.ref.fileName()).c_str(), nullptr, MS_BIND, nullptr) !=
             0) {
           writeBytes(c.file(c.ref.fileName()), good() + "x");
         } else {
           c.mounted = c.file(c.ref.fileName());
         }
       }},
      {"clock behind the key's time", Reason::untrusted_key,
       [](C& c, S&) {
         c.addKey("one", c.key, "fallbackd-not-before: " + rfc3339(Clock::system().wall() + 24h) + "\n");
       }},
      {"Go program of another version", Reason::version_mismatch,
       [](C& c, S&) { c.put(c.ref, test::withGoBuild(good(), "v1.8.2")); }},
      {"signed, segments that overlap", Reason::elf_malformed,
       [](C& c, S&) { c.put(c.ref, test::withOverlap(good())); }},
      {"signed, headers beyond the end", Reason::elf_malformed,
       [](C& c, S&) { c.put(c.ref, good().substr(0, 100)); }},
      {"script in its place", Reason::not_elf,
       [](C& c, S&) { writeBytes(c.file(c.ref.fileName()), "#!/bin/sh\nexec evil\n"); }},
      {"signed script", Reason::not_elf, [](C& c, S&) { c.put(c.ref, "#!/bin/sh\nexit 0\n"); }},
      {"signed, dynamically linked", Reason::elf_dynamic,
       [](C& c, S&) { c.put(c.ref, test::program("elf-dynamic")); }},
      {"signed, executable stack", Reason::elf_executable_stack,
       [](C& c, S&) { c.put(c.ref, test::program("elf-execstack")); }},
      {"signed, writable code", Reason::elf_writable_code,
       [](C& c, S&) { c.put(c.ref, test::withWritableCode(good())); }},
      {"signed, truncated", Reason::elf_malformed, [](C& c, S&) { c.put(c.ref, good().substr(0, 4000)); }},
      {"no PIE where it is required", Reason::elf_not_pie,
       [](C& c, S& s) {
         s.requirePie = true;
         c.put(c.ref, test::program("elf-static"));
       }},
      // Owners of the files, beside the write permissions of others.
      {"binary of another user", Reason::unsafe_owner, [](C& c, S&) { giveAway(c.file(c.ref.fileName())); }},
      {"attestation of another user", Reason::unsafe_owner,
       [](C& c, S&) { giveAway(c.file(c.ref.attestationName())); }},
      {"cache of another user", Reason::unsafe_owner, [](C& c, S&) { giveAway(c.path("cache")); }},
      {"keys of another user", Reason::unsafe_owner, [](C& c, S&) { giveAway(c.path("keys")); }},
      {"key file of another user", Reason::unsafe_owner, [](C& c, S&) { giveAway(c.path("keys/one.pub")); }},
      {"key file writable by others", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.path("keys/one.pub").c_str(), 0666), 0); }},
      {"folder above the cache of another user", Reason::unsafe_owner,
       [](C& c, S& s) {
         fs::create_directory(c.path("above"));
         fs::rename(c.path("cache"), c.path("above/cache"));
         s.path = c.path("above/cache");
         giveAway(c.path("above"));
       }},
      {"access list that lets a user write", Reason::unsafe_owner,
       [](C& c, S&) {
         // Version 2: owner rwx, uid 1000 rw, group r, mask rwx, others r.
         const std::string list(
             "\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff"
             "\x10\0\x07\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff",
             44);
         ASSERT_EQ(::setxattr(c.file(c.ref.fileName()).c_str(), "system.posix_acl_access", list.data(),
                              list.size(), 0),
                   0);
       }},
      {"FIFO as the attestation", Reason::unsafe_file_type,
       [](C& c, S&) {
         fs::remove(c.file(c.ref.attestationName()));
         ASSERT_EQ(::mkfifo(c.file(c.ref.attestationName()).c_str(), 0600), 0);
       }},
      {"hard link to the attestation", Reason::unsafe_file_type,
       [](C& c, S&) { fs::create_hard_link(c.file(c.ref.attestationName()), c.path("other-name")); }},
      {"hard link to the key", Reason::keyring_invalid,
       [](C& c, S&) { fs::create_hard_link(c.path("keys/one.pub"), c.path("other-name")); }},
      {"FIFO as a key", Reason::keyring_invalid,
       [](C& c, S&) { ASSERT_EQ(::mkfifo(c.path("keys/two.pub").c_str(), 0600), 0); }},
      {"hundred attestations", Reason::attestation_malformed,
       [](C& c, S&) {
         for (int i = 0; i < 100; ++i)
           writeBytes(c.file(c.ref.fileName() + "." + std::to_string(i) + ".sigstore.json"), "{}", 0644);
       }},
      {"more than 2 GiB", Reason::too_large,
       [](C& c, S&) { fs::resize_file(c.file(c.ref.fileName()), (2ULL << 30U) + 1); }},
      {"empty binary", Reason::not_elf, [](C& c, S&) { fs::resize_file(c.file(c.ref.fileName()), 0); }},

      // An attacker who can change a list can admit what it refuses.
      {"revocation list writable by others", Reason::unsafe_owner,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         writeBytes(*s.revoked, "# none\n", 0666);
       }},
      {"revocation list of another user", Reason::unsafe_owner,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         writeBytes(*s.revoked, "# none\n", 0644);
         giveAway(*s.revoked);
       }},
      {"revocation list that is a symlink", Reason::unsafe_path,
       [](C& c, S& s) {
         writeBytes(c.path("elsewhere"), "# none\n", 0644);
         s.revoked = c.path("revoked");
         fs::create_symlink(c.path("elsewhere"), *s.revoked);
       }},
      {"revocation list that is a FIFO", Reason::unsafe_file_type,
       [](C& c, S& s) {
         s.revoked = c.path("revoked");
         ASSERT_EQ(::mkfifo(s.revoked->c_str(), 0600), 0);
       }},
      {"revocation list in a folder that others can write", Reason::unsafe_owner,
       [](C& c, S& s) {
         fs::create_directory(c.path("open"));
         s.revoked = c.path("open/revoked");
         writeBytes(*s.revoked, "# none\n", 0644);
         ASSERT_EQ(::chmod(c.path("open").c_str(), 0777), 0);
       }},
      {"version floor that others can lower", Reason::unsafe_owner,
       [](C& c, S&) { ASSERT_EQ(::chmod(c.path("state").c_str(), 0777), 0); }},
      {"version floor through a symlink", Reason::unsafe_path,
       [](C& c, S& s) {
         fs::create_symlink(c.path("state"), c.path("link"));
         s.state = c.path("link");
       }},

      // One key in several forms.
      {"threshold met by one key's two signatures", Reason::threshold_not_met,
       [](C& c, S& s) {
         s.threshold = 2;
         const auto payload = payloadOf(c);
         const auto sign = [&] {
           return R"({"sig":")" + encodeBase64(*c.key.sign(preAuthEncoding(kPayloadType, payload))) + R"("})";
         };
         writeBytes(c.file(c.ref.attestationName()),
                    R"({"payloadType":"application/vnd.in-toto+json","payload":")" + encodeBase64(payload) +
                        R"(","signatures":[)" + sign() + "," + sign() + "]}",
                    0644);
       }},
      {"threshold met by a stranger's key", Reason::threshold_not_met,
       [](C& c, S& s) {
         s.threshold = 2;
         writeBytes(c.file(c.ref.fileName() + ".second.sigstore.json"),
                    *signStatement(C::statementFor(c.ref, good()), otherKey()), 0644);
       }},
      {"threshold met by signatures of another version", Reason::threshold_not_met,
       [](C& c, S& s) {
         s.threshold = 2;
         const auto second = otherKey();
         c.addKey("two", second);
         writeBytes(c.file(c.ref.fileName() + ".second.sigstore.json"),
                    *signStatement(C::statementFor({c.ref.name, "1.8.4"}, good()), second), 0644);
       }},
      {"seventeen signatures", Reason::attestation_malformed,
       [](C& c, S&) {
         std::string signatures = R"({"sig":"AAAA"})";
         for (int i = 0; i < 16; ++i) signatures.append(R"(,{"sig":"AAAA"})");
         writeBytes(c.file(c.ref.attestationName()),
                    R"({"payloadType":"application/vnd.in-toto+json","payload":"AAAA","signatures":[)" +
                        signatures + "]}",
                    0644);
       }},
      {"key of another curve", Reason::keyring_invalid,
       [](C& c, S&) {
         writeBytes(c.path("keys/two.pub"),
                    "-----BEGIN PUBLIC KEY-----\n"
                    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE6koPqszpviVOKfODnmShITUPNOs9bFxK\n"
                    "wSkgcKHX6RiR+Shg8qm1Umfkz/mhkJc7So9CxQyN3aN6KS3NsCA/m43pQaKmJ7HV\n"
                    "G8ObVovKoKRwilLs9X2GX1P5MHIUdnor\n"
                    "-----END PUBLIC KEY-----\n",
                    0644);
       }},

      // Texts that two parsers can read differently.
      {"duplicate key, once with an escape", Reason::attestation_malformed,
       [](C& c, S&) {
         signPayload(c, replaced(payloadOf(c), R"("version":)", R"("versi\u006fn":"9","version":)"));
       }},
      {"byte order mark", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"({"mediaType")", "\xef\xbb\xbf{\"mediaType\""); }},
      {"invalid UTF-8", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), R"("arch":)", "\"\xff\":\"x\",\"arch\":")); }},
      {"comment in the JSON", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"({"mediaType")", R"({/* x */"mediaType")"); }},
      {"trailing comma", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"(}]}})", R"(},]}})"); }},
      {"zero byte after the end", Reason::attestation_malformed,
       [](C& c, S&) {
         writeBytes(c.file(c.ref.attestationName()),
                    test::readBytes(c.file(c.ref.attestationName())) + std::string(1, '\0'), 0644);
       }},
      {"base64 with padding in the middle", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"("payload":")", R"("payload":"AA==)"); }},
      {"base64 with too much padding", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"("sig":")", R"("sig":"AAA==","x":")"); }},
      {"certificate chain in the bundle", Reason::attestation_unsupported,
       [](C& c, S&) {
         editBundle(c, R"("publicKey":)", R"("x509CertificateChain":{"certificates":[]},"publicKey":)");
       }},
      {"bundle that names no key", Reason::attestation_malformed,
       [](C& c, S&) { editBundle(c, R"("publicKey":)", R"("other":)"); }},
      {"name that is a path", Reason::attestation_malformed,
       [](C& c, S&) {
         signPayload(c, replaced(payloadOf(c), R"("name":"checkout",)", R"("name":"../checkout",)"));
       }},
      {"zero byte in the name", Reason::attestation_malformed,
       [](C& c, S&) {
         signPayload(c, replaced(payloadOf(c), R"("name":"checkout",)", R"("name":"checkout\u0000x",)"));
       }},
      {"digest in capitals", Reason::attestation_malformed,
       [](C& c, S&) {
         signPayload(c, replaced(payloadOf(c), R"("sha256":")" + toHex(Sha256::of(good())),
                                 R"("sha256":")" + std::string(64, 'A')));
       }},
      {"digest of another kind only", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), R"("sha256")", R"("sha512")")); }},
      {"no subject", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), R"("subject":[{)", R"("subject":[],"x":[{)")); }},
      {"no expiry", Reason::attestation_malformed,
       [](C& c, S&) {
         auto payload = payloadOf(c);
         const auto at = payload.find(R"(,"expires")");
         signPayload(c, payload.erase(at, payload.find('}', at) - at));
       }},
      {"expired in 1700", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, withExpiry(c, "1700-01-01T00:00:00Z")); }},
      {"expired in 1999", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, withExpiry(c, "1999-12-31T23:59:59Z")); }},
      {"expired in 2000", Reason::expired,
       [](C& c, S&) { signPayload(c, withExpiry(c, "2000-01-01T00:00:00Z")); }},
      {"expiry without a zone", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, withExpiry(c, "2199-12-31T00:00:00")); }},
      {"expiry on a nonexistent day", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, withExpiry(c, "2199-02-30T00:00:00Z")); }},
      {"expiry beyond the clock's range", Reason::attestation_malformed,
       [](C& c, S&) { signPayload(c, withExpiry(c, "99999-12-31T00:00:00Z")); }},
      {"no architecture", Reason::arch_mismatch,
       [](C& c, S&) { resign(c, [](Statement& s) { s.arch = ""; }); }},
      {"invalid minimum version", Reason::attestation_malformed,
       [](C& c, S&) { resign(c, [](Statement& s) { s.minimumVersion = "../1"; }); }},
      {"statement of another type", Reason::attestation_unsupported,
       [](C& c, S&) { signPayload(c, replaced(payloadOf(c), "Statement/v1", "Statement/v2")); }},

      // A restriction of one signer holds, whichever file is read first.
      {"second signer's date is over", Reason::expired,
       [](C& c, S&) { addSigner(c, [](Statement& s) { s.expires = Clock::system().wall() - 1h; }); }},
      {"second signer's minimum version", Reason::version_rollback,
       [](C& c, S&) { addSigner(c, [](Statement& s) { s.minimumVersion = "2.0"; }); }},

      // Too many or too large.
      {"65 keys", Reason::keyring_invalid,
       [](C& c, S&) {
         for (int i = 0; i < 64; ++i) c.addKey("more-" + std::to_string(i), c.key);
       }},
      {"huge key file", Reason::keyring_invalid,
       [](C& c, S&) { c.addKey("two", otherKey(), std::string(20'000, '#') + "\n"); }},
      {"symlink as the binary, to a file beside it", Reason::unsafe_path,
       [](C& c, S&) {
         fs::rename(c.file(c.ref.fileName()), c.file("elsewhere"));
         fs::create_symlink("elsewhere", c.file(c.ref.fileName()));
       }},
      {"signed, libraries without a loader", Reason::elf_dynamic,
       [](C& c, S&) {
         c.put(c.ref, test::withSegments(test::program("elf-dynamic"), [](Elf64_Phdr& segment) {
                 if (segment.p_type == PT_INTERP) segment.p_type = PT_NULL;
               }));
       }},
      {"signed, endless dynamic section", Reason::elf_malformed,
       [](C& c, S&) {
         c.put(c.ref, test::withSegments(good(), [](Elf64_Phdr& segment) {
                 if (segment.p_type != PT_DYNAMIC) return;
                 segment.p_offset = 0;
                 segment.p_filesz = 5000 * sizeof(Elf64_Dyn);
               }));
       }},

      // Signed, but not fit to run.
      {"signed, another machine", Reason::elf_wrong_machine,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_machine = EM_S390; })); }},
      {"signed, 32 bits", Reason::elf_wrong_machine,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_ident[EI_CLASS] = ELFCLASS32; })); }},
      {"signed, the other byte order", Reason::elf_wrong_machine,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_ident[EI_DATA] = ELFDATA2MSB; })); }},
      {"signed, an object file", Reason::elf_malformed,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_type = ET_REL; })); }},
      {"signed, entry outside of its code", Reason::elf_malformed,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_entry = ~0ULL; })); }},
      {"signed, headers far away", Reason::elf_malformed,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_phoff = ~0ULL - 8; })); }},
      {"signed, 65535 headers", Reason::elf_malformed,
       [](C& c, S&) { c.put(c.ref, withHeader([](Elf64_Ehdr& h) { h.e_phnum = 0xffff; })); }},
  };
  return rows;
}

Result<Admitted> admit(const SignedCache& cache, const config::CacheSettings& settings) {
  AdmissionOptions options;
  options.owner = ::geteuid();
  return Admission(settings, options).admit(cache.ref, Clock::system().wall());
}

struct AttackTest : testing::TestWithParam<Attack> {};

TEST_P(AttackTest, IsRefusedForItsReason) {
  const auto& attack = GetParam();
  SignedCache cache;
  cache.put(cache.ref, good());
  auto settings = cache.settings();
  {
    auto withoutFloor = settings;  // the control case must not raise the floor before the attack
    withoutFloor.state = cache.path("control-state");
    const auto control = admit(cache, withoutFloor);
    ASSERT_TRUE(control) << attack.name << ": " << control.error().message();
  }
  attack.spoil(cache, settings);
  const auto result = admit(cache, settings);
  test::recordAttack(attack.name, toString(attack.reason),
                     result ? "ADMITTED" : toString(result.error().reason),
                     result ? "" : result.error().context);
  ASSERT_FALSE(result) << attack.name << " was admitted";
  EXPECT_EQ(toString(result.error().reason), toString(attack.reason))
      << attack.name << ": " << result.error().message();
  EXPECT_EQ(result.error().stage, Stage::admission) << attack.name;
}

INSTANTIATE_TEST_SUITE_P(Table, AttackTest, testing::ValuesIn(attacks()),
                         [](const auto& row) { return test::testName(row.param.name); });

TEST(Admission, OtherOwnersAreRefused) {
  SignedCache cache;
  cache.put(cache.ref, good());
  AdmissionOptions options;
  options.owner = ::geteuid() + 1;
  const auto result = Admission(cache.settings(), options).admit(cache.ref, Clock::system().wall());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, Reason::unsafe_owner);
}

TEST(Admission, ReportsWhatItAdmitted) {
  SignedCache cache;
  cache.put(cache.ref, good());
  const auto result = admit(cache, cache.settings());
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->digest, toHex(Sha256::of(good())));
  EXPECT_EQ(result->size, good().size());
  EXPECT_TRUE(result->form.pie);
  EXPECT_EQ(result->keys.size(), 1U);
  EXPECT_EQ(result->sealMethod.substr(0, 5), "memfd");
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  EXPECT_EQ(::fcntl(result->executable.get(), F_GET_SEALS) & kSeals, kSeals);
  EXPECT_LT(::pwrite(result->executable.get(), "x", 1, 0), 0);
}

TEST(Admission, TwoKeysMeetAThresholdOfTwo) {
  SignedCache cache;
  cache.put(cache.ref, good());
  auto settings = cache.settings();
  settings.threshold = 2;
  const auto second = std::move(*PrivateKey::generate(KeyType::ed25519));
  cache.addKey("second", second);
  // Each signer chooses a date; the earliest applies.
  auto statement = SignedCache::statementFor(cache.ref, good());
  statement.expires = Clock::system().wall() + 1h;
  writeBytes(cache.file(cache.ref.fileName() + ".second.sigstore.json"), *signStatement(statement, second),
             0644);
  const auto result = admit(cache, settings);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->keys.size(), 2U);
  EXPECT_EQ(result->expires, statement.expires);
}

TEST(Admission, VersionsWithACommonPrefixDoNotInterfere) {
  SignedCache cache;
  const BinaryRef shorter{cache.ref.name, "1.8"};
  cache.put(shorter, test::program("elf-static"));
  cache.put(cache.ref, good());
  for (const auto& ref : {shorter, cache.ref}) {
    cache.ref = ref;
    auto settings = cache.settings();
    settings.state = cache.path("state-" + ref.version);
    const auto result = admit(cache, settings);
    EXPECT_TRUE(result) << result.error().message();
  }
  // Nor does the other version's attestation if its binary is missing or unreadable.
  cache.ref = shorter;
  writeBytes(cache.file("checkout-v1.8.3.sigstore.json"), "{}", 0646);
  EXPECT_TRUE(admit(cache, cache.settings()));
  cache.put({cache.ref.name, "1.8.3"}, good());
  fs::remove(cache.file("checkout-v1.8.3"));
  EXPECT_TRUE(admit(cache, cache.settings()));
}

TEST(Admission, LookingLeavesTheFloorAlone) {
  SignedCache cache;
  cache.put(cache.ref, good());
  AdmissionOptions options;
  options.owner = ::geteuid();
  options.floor = FloorUse::check;
  ASSERT_TRUE(Admission(cache.settings(), options).admit(cache.ref, Clock::system().wall()));
  EXPECT_TRUE(fs::is_empty(cache.path("state")));
  ASSERT_TRUE(VersionFloor::open(cache.path("state"))->raise({cache.ref.name, "2.0"}));
  EXPECT_EQ(Admission(cache.settings(), options).admit(cache.ref, Clock::system().wall()).error().reason,
            Reason::version_rollback);
}

TEST(Admission, ADamagedFloorIsReportedOnceAndAdmits) {
  SignedCache cache;
  cache.put(cache.ref, good());
  writeBytes(cache.path("state/version-floor.json"), R"({"versions":{"chec)", 0644);
  Cache resident(cache.settings(), ::geteuid());
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).result);
  EXPECT_NE(resident.takeWarning().find("version-floor.json.damaged"), std::string::npos);
  EXPECT_EQ(resident.takeWarning(), "");
  EXPECT_EQ(VersionFloor::open(cache.path("state"))->check({cache.ref.name, "1.8.2"}).error().reason,
            Reason::version_rollback)
      << "the floor is intact again";
}

TEST(Admission, GraceIsUsedAndReported) {
  SignedCache cache;
  resign(cache, [](Statement& s) { s.expires = Clock::system().wall() - 1h; });
  auto settings = cache.settings();
  settings.expiryGrace = 2h;
  const auto result = admit(cache, settings);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_TRUE(result->inGrace);
}

TEST(Admission, NoDateWrapsAround) {
  SignedCache cache;
  auto settings = cache.settings();
  for (const auto grace : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(48h)}) {
    settings.expiryGrace = grace;
    const Admission admission(settings);
    for (const auto expires : {Wall::time_point::min(), Wall::time_point(-86'000 * 24h)}) {
      EXPECT_EQ(admission.checkExpiry(cache.ref, expires, Clock::system().wall()).error().reason,
                Reason::expired);
    }
    EXPECT_TRUE(admission.checkExpiry(cache.ref, Wall::time_point::max(), Clock::system().wall()));
  }
  settings.expiryGrace = std::chrono::nanoseconds::max();
  const auto inGrace =
      Admission(settings).checkExpiry(cache.ref, Clock::system().wall() - 1h, Clock::system().wall());
  ASSERT_TRUE(inGrace);
  EXPECT_TRUE(*inGrace);
}

/// One name in several versions, and the decision of a daemon that starts now on each of them.
struct RolloutTest : testing::Test {
  RolloutTest() {
    for (const auto& ref : {old, older, newer}) cache.put(ref, good());
  }
  Result<AdmittedPtr> afterRestart(const BinaryRef& ref, const std::vector<BinaryRef>& configured) {
    Cache restarted(cache.settings(), ::geteuid());
    for (const auto& entry : restarted.refresh(configured)) EXPECT_TRUE(entry.result) << entry.ref.toString();
    return restarted.admit(ref);
  }
  /// The reason of the refusal, or "admitted".
  static std::string said(const Result<AdmittedPtr>& result) {
    return result ? "admitted" : std::string(toString(result.error().reason));
  }
  SignedCache cache;
  BinaryRef older{"checkout", "1.8.2"};
  BinaryRef old{"checkout", "1.8.3"};
  BinaryRef newer{"checkout", "1.8.4"};
};

TEST_F(RolloutTest, AConfiguredVersionRunsBeforeAndAfterARestart) {
  Cache resident(cache.settings(), ::geteuid());
  for (const auto& entry : resident.refresh({old, newer})) EXPECT_TRUE(entry.result) << entry.ref.toString();
  for (const auto& ref : {old, newer}) {
    EXPECT_EQ(said(resident.admit(ref)), "admitted") << ref.toString();
    EXPECT_EQ(said(afterRestart(ref, {old, newer})), "admitted") << ref.toString();
  }
  EXPECT_EQ(said(resident.admit(older)), "version_rollback") << "only pods or command lines name it";
  EXPECT_EQ(said(afterRestart(older, {old, newer})), "version_rollback");
}

TEST_F(RolloutTest, AnApplicationMayBeRolledBack) {
  Cache resident(cache.settings(), ::geteuid());
  ASSERT_TRUE(resident.refresh({newer}).at(0).result);
  const auto back = resident.refresh({old});
  EXPECT_TRUE(back.at(0).result) << back.at(0).result.error().message();
  EXPECT_EQ(said(afterRestart(old, {old})), "admitted");
  EXPECT_EQ(said(afterRestart(older, {old})), "version_rollback") << "the floor is unchanged";
}

TEST_F(RolloutTest, AVersionThatOthersNameMovesNoFloor) {
  Cache resident(cache.settings(), ::geteuid());
  ASSERT_TRUE(resident.refresh({old}).at(0).result);
  EXPECT_EQ(said(resident.admit(newer)), "admitted") << "a pod's annotation";
  for (const auto& [ref, verdict] : {std::pair(older, "version_rollback"), std::pair(old, "admitted")}) {
    EXPECT_EQ(said(resident.admit(ref)), verdict) << ref.toString();
    EXPECT_EQ(said(afterRestart(ref, {old})), verdict) << ref.toString();
    EXPECT_EQ(said(afterRestart(ref, {})), verdict) << ref.toString();
  }
}

TEST_F(RolloutTest, ACopyForOthersMovesTheFloorWhenTheConfigurationNamesIt) {
  Cache resident(cache.settings(), ::geteuid());
  ASSERT_TRUE(resident.admit(newer));
  EXPECT_EQ(said(resident.admit(old)), "admitted");
  ASSERT_TRUE(resident.refresh({newer}).at(0).result);
  EXPECT_EQ(said(resident.admit(old)), "version_rollback");
  EXPECT_EQ(said(afterRestart(old, {newer})), "version_rollback");
}

TEST_F(RolloutTest, AMinimumVersionAlwaysMovesTheFloor) {
  auto statement = SignedCache::statementFor(newer, good());
  statement.minimumVersion = "1.8.3";
  cache.put(newer, good(), statement, cache.key);
  Cache resident(cache.settings(), ::geteuid());
  ASSERT_TRUE(resident.admit(older));
  ASSERT_NE(*resident.resident(older), nullptr);
  ASSERT_TRUE(resident.admit(newer));
  EXPECT_EQ(*resident.resident(older), nullptr) << "its copy is now below the floor";
  EXPECT_EQ(said(resident.admit(older)), "version_rollback");
  EXPECT_EQ(said(resident.admit(old)), "admitted") << "the minimum version counts, not the version";
  EXPECT_EQ(said(afterRestart(older, {})), "version_rollback");
  EXPECT_EQ(said(afterRestart(older, {older})), "admitted") << "the operator's configuration names it";
}

TEST_F(RolloutTest, AnUnreadableFloorAdmitsNothing) {
  for (const auto* name : {"version-floor.json", "version-floor.copy.json"})
    fs::create_directory(cache.path(std::string("state/") + name));
  Cache resident(cache.settings(), ::geteuid());
  EXPECT_EQ(resident.admit(old).error().reason, Reason::system);
  EXPECT_EQ(resident.refresh({old}).at(0).result.error().reason, Reason::system);
}

TEST(Admission, TheStrictestSignersNamespacesApply) {
  SignedCache cache;
  const auto second = otherKey();
  cache.addKey("two", second);
  const auto namespacesOf = [&](std::optional<std::vector<std::string>> one,
                                std::optional<std::vector<std::string>> two) {
    auto statement = SignedCache::statementFor(cache.ref, good());
    statement.namespaces = std::move(one);
    cache.put(cache.ref, good(), statement, cache.key);
    statement.namespaces = std::move(two);
    writeBytes(cache.file(cache.ref.fileName() + ".second.sigstore.json"), *signStatement(statement, second),
               0644);
    const auto admitted = admit(cache, cache.settings());
    EXPECT_TRUE(admitted) << admitted.error().message();
    return admitted->namespaces;
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(namespacesOf({}, {}), std::nullopt);
  EXPECT_EQ(namespacesOf(List{"shop"}, {}), List{"shop"});
  EXPECT_EQ(namespacesOf({}, List{"shop"}), List{"shop"});
  EXPECT_EQ(namespacesOf(List{"shop", "bank"}, List{"bank", "post"}), List{"bank"});
  EXPECT_EQ(namespacesOf(List{"shop"}, List{"bank"}), List{});
}

TEST(Admission, EverySignerMustConfirmTheImage) {
  SignedCache cache;
  const auto second = otherKey();
  cache.addKey("two", second);
  const auto admitWith = [&](std::optional<ImageConfig> one, std::optional<ImageConfig> two) {
    auto statement = SignedCache::statementFor(cache.ref, good());
    statement.image = std::move(one);
    cache.put(cache.ref, good(), statement, cache.key);
    statement.image = std::move(two);
    writeBytes(cache.file(cache.ref.fileName() + ".second.sigstore.json"), *signStatement(statement, second),
               0644);
    return admit(cache, cache.settings());
  };
  const ImageConfig image{"1000", {{"A", "b"}}, {"/app"}, {}, "/"};
  EXPECT_EQ(admitWith(image, image)->image, image);
  EXPECT_EQ(admitWith(image, {})->image, std::nullopt) << "the second signer does not confirm it";
  EXPECT_EQ(admitWith({}, image)->image, std::nullopt);
  const auto contradicted = admitWith(image, ImageConfig{"0", {}, {}, {}, ""});
  ASSERT_FALSE(contradicted);
  EXPECT_EQ(contradicted.error().reason, Reason::attestation_malformed);
}

struct ResidentTest : testing::Test {
  ResidentTest() { cache.put(cache.ref, good()); }
  SignedCache cache;
  Cache resident{cache.settings(), ::geteuid()};
};

TEST_F(ResidentTest, KeepsServingWhileTheFileIsReplaced) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).result);
  writeBytes(cache.file(cache.ref.fileName()), "#!/bin/sh\n");
  const auto entries = resident.refresh({cache.ref});
  ASSERT_FALSE(entries.at(0).result);
  EXPECT_EQ(entries.at(0).result.error().reason, Reason::not_elf);
  const auto served = resident.resident(cache.ref);
  ASSERT_TRUE(served && *served != nullptr);
  EXPECT_EQ((*served)->digest, toHex(Sha256::of(good())));
  EXPECT_TRUE(entries.at(0).resident);
}

TEST_F(ResidentTest, ACopyThatIsGivenUpServesNobodyAndIsReplaced) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).result);
  const auto first = resident.resident(cache.ref);
  ASSERT_TRUE(first && *first != nullptr);
  resident.giveUp(*first);
  EXPECT_EQ(*resident.resident(cache.ref), nullptr);
  const auto second = resident.admit(cache.ref);
  ASSERT_TRUE(second);
  EXPECT_NE(*second, *first);
  resident.giveUp(*first);
  EXPECT_EQ(*resident.resident(cache.ref), *second) << "the second copy stays";
}

TEST_F(ResidentTest, ABinaryThatAPodChoosesIsResidentAndRaisesNoFloor) {
  const BinaryRef newer{cache.ref.name, "9.0.0"};
  cache.put(newer, good());
  const auto entries = resident.refresh({cache.ref}, Clock::system().wall(), {cache.ref, newer});
  ASSERT_EQ(entries.size(), 2U) << "a binary in both lists counts as the configuration's";
  EXPECT_TRUE(entries[1].result);
  EXPECT_TRUE(entries[1].resident);
  EXPECT_FALSE(resident.refresh({cache.ref}, Clock::system().wall(), {newer}).at(1).examined);
  const auto served = resident.resident(newer);
  ASSERT_TRUE(served && *served != nullptr);
  // If it counted as the configuration's, its version would now be the floor.
  EXPECT_TRUE(resident.refresh({}, Clock::system().wall(), {cache.ref}).at(0).result);
  const auto dropped = resident.resident(newer);
  ASSERT_TRUE(dropped);
  EXPECT_EQ(*dropped, nullptr);
}

TEST_F(ResidentTest, ABinaryThatAPodChoosesBelowTheFloorIsRefused) {
  const BinaryRef newer{cache.ref.name, "9.0.0"};
  cache.put(newer, good());
  const auto entries = resident.refresh({newer}, Clock::system().wall(), {cache.ref});
  ASSERT_EQ(entries.size(), 2U);
  ASSERT_FALSE(entries[1].result);
  EXPECT_EQ(entries[1].result.error().reason, Reason::version_rollback);
}

/// A change to a file that a workload relies on while its copy serves.
struct Change {
  const char* name;
  Reason reason;
  std::function<void(SignedCache&)> make;
  std::function<void(SignedCache&)> undo;

  friend void PrintTo(const Change& change, std::ostream* out) { *out << change.name; }
};

const std::vector<Change>& changes() {
  using C = SignedCache;
  const auto putBack = [](C& c) { c.put(c.ref, good()); };
  static const std::vector<Change> rows{
      {"another file renamed over it", Reason::digest_mismatch,
       [](C& c) {
         writeBytes(c.path("evil"), good() + "x");
         fs::rename(c.path("evil"), c.file(c.ref.fileName()));
       },
       putBack},
      {"written in place, its times set back", Reason::digest_mismatch,
       [](C& c) {
         const auto times = fs::last_write_time(c.file(c.ref.fileName()));
         const sys::UniqueFd file(::open(c.file(c.ref.fileName()).c_str(), O_WRONLY | O_CLOEXEC));
         ASSERT_EQ(::pwrite(file.get(), "x", 1, 5000), 1);
         fs::last_write_time(c.file(c.ref.fileName()), times);
       },
       putBack},
      {"written through a mapping", Reason::digest_mismatch,
       [](C& c) {
         const sys::UniqueFd file(::open(c.file(c.ref.fileName()).c_str(), O_RDWR | O_CLOEXEC));
         void* mapped = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
         ASSERT_NE(mapped, MAP_FAILED);
         static_cast<char*>(mapped)[5000] = 'x';
         ASSERT_EQ(::msync(mapped, 8192, MS_SYNC), 0);
         ::munmap(mapped, 8192);
       },
       putBack},
      {"removed", Reason::not_found, [](C& c) { fs::remove(c.file(c.ref.fileName())); }, putBack},
      {"attestation removed", Reason::attestation_missing,
       [](C& c) { fs::remove(c.file(c.ref.attestationName())); }, putBack},
      {"attestation by a stranger", Reason::untrusted_key,
       [](C& c) { c.put(c.ref, good(), C::statementFor(c.ref, good()), otherKey()); }, putBack},
      {"symlink in its place", Reason::unsafe_path,
       [](C& c) {
         fs::rename(c.file(c.ref.fileName()), c.path("elsewhere"));
         fs::create_symlink(c.path("elsewhere"), c.file(c.ref.fileName()));
       },
       [](C& c) { fs::rename(c.path("elsewhere"), c.file(c.ref.fileName())); }},
      {"a second name", Reason::unsafe_file_type,
       [](C& c) { fs::create_hard_link(c.file(c.ref.fileName()), c.path("second")); },
       [](C& c) { fs::remove(c.path("second")); }},
      {"writable by others", Reason::unsafe_owner,
       [](C& c) { ASSERT_EQ(::chmod(c.file(c.ref.fileName()).c_str(), 0777), 0); },
       [](C& c) { ASSERT_EQ(::chmod(c.file(c.ref.fileName()).c_str(), 0755), 0); }},
      {"cache given to another user", Reason::unsafe_owner, [](C& c) { giveAway(c.path("cache")); },
       [](C& c) { ASSERT_EQ(::chown(c.path("cache").c_str(), ::geteuid(), ::getegid()), 0); }},
      {"another folder mounted over the cache", Reason::not_found,
       [](C& c) {
         fs::create_directory(c.path("over"));
         ASSERT_EQ(::mount(c.path("over").c_str(), c.path("cache").c_str(), nullptr, MS_BIND, nullptr), 0);
         c.mounted = c.path("cache");
       },
       [](C& c) { ASSERT_EQ(::umount2(c.path("cache").c_str(), MNT_DETACH), 0); }},
      {"another file mounted over it", Reason::digest_mismatch,
       [](C& c) {
         writeBytes(c.path("evil"), good() + "x");
         c.mounted = c.file(c.ref.fileName());
         ASSERT_EQ(::mount(c.path("evil").c_str(), c.mounted.c_str(), nullptr, MS_BIND, nullptr), 0);
       },
       [](C& c) { ASSERT_EQ(::umount2(c.mounted.c_str(), MNT_DETACH), 0); }},
  };
  return rows;
}

struct ReadmissionTest : testing::TestWithParam<Change> {};

TEST_P(ReadmissionTest, IsReportedKeepsServingAndEndsWhenUndone) {
  const auto& change = GetParam();
  SignedCache cache;
  cache.put(cache.ref, good());
  Cache resident(cache.settings(), ::geteuid());
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).result);
  change.make(cache);
  const auto seen = resident.refresh({cache.ref});
  EXPECT_TRUE(seen.at(0).examined);
  ASSERT_FALSE(seen.at(0).result);
  EXPECT_EQ(toString(seen.at(0).result.error().reason), toString(change.reason))
      << seen.at(0).result.error().message();
  EXPECT_TRUE(seen.at(0).resident);
  const auto served = resident.resident(cache.ref);
  ASSERT_TRUE(served && *served != nullptr);
  EXPECT_EQ((*served)->digest, toHex(Sha256::of(good())));
  change.undo(cache);
  const auto undone = resident.refresh({cache.ref});
  EXPECT_TRUE(undone.at(0).result) << undone.at(0).result.error().message();
  EXPECT_TRUE(undone.at(0).resident);
}

INSTANTIATE_TEST_SUITE_P(Changes, ReadmissionTest, testing::ValuesIn(changes()),
                         [](const auto& row) { return test::testName(row.param.name); });

TEST_F(ResidentTest, AStepOfTheClockIsTakenIntoAccount) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).result);
  const auto later = Clock::system().wall() + 48h;
  EXPECT_EQ(resident.resident(cache.ref, later).error().reason, Reason::expired) << "no recovery may run it";
  EXPECT_EQ(resident.refresh({cache.ref}, later).at(0).result.error().reason, Reason::expired);
  EXPECT_TRUE(resident.refresh({cache.ref}).at(0).result) << "the clock was wrong and has been corrected";
  ASSERT_TRUE(resident.resident(cache.ref));
  EXPECT_NE(*resident.resident(cache.ref), nullptr);
  // A node starts with the clock at 1970 and then gets the time.
  cache.addKey("one", cache.key, "fallbackd-not-before: 2020-01-01\n");
  Cache early(cache.settings(), ::geteuid());
  EXPECT_EQ(early.refresh({cache.ref}, Wall::time_point()).at(0).result.error().reason,
            Reason::untrusted_key);
  EXPECT_TRUE(early.refresh({cache.ref}).at(0).result);
}

TEST_F(ResidentTest, RefusedBytesAreNotHashedAgainUntilTheyChange) {
  auto bytes = good();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  writeBytes(cache.file(cache.ref.fileName()), bytes);
  const auto hashedAt = [&](Wall::time_point now) {
    const auto before = resident.usage().hashedBytes;
    EXPECT_EQ(resident.admit(cache.ref, now).error().reason, Reason::digest_mismatch);
    return resident.usage().hashedBytes - before;
  };
  // A file written a moment ago might be written again within the same clock tick.
  EXPECT_EQ(hashedAt(Clock::system().wall() - 1s), bytes.size());
  EXPECT_EQ(hashedAt(Clock::system().wall() + 1min), bytes.size());
  EXPECT_EQ(hashedAt(Clock::system().wall() + 1min), 0U) << "hashed for each recovery";
  writeBytes(cache.file(cache.ref.fileName()), good());
  EXPECT_TRUE(resident.admit(cache.ref)) << "it is valid again at once";
}

TEST_F(ResidentTest, AGoProgramOfAnotherVersionIsNotHashedAgainEither) {
  const auto later = Clock::system().wall() + 1min;
  const auto bytes = test::withGoBuild(good(), "v1.8.2");
  cache.put(cache.ref, bytes);
  EXPECT_EQ(resident.admit(cache.ref, later).error().reason, Reason::version_mismatch);
  const auto hashed = resident.usage().hashedBytes;
  EXPECT_EQ(hashed, bytes.size());
  EXPECT_EQ(resident.admit(cache.ref, later).error().reason, Reason::version_mismatch);
  EXPECT_EQ(resident.refresh({cache.ref}, later).at(0).result.error().reason, Reason::version_mismatch);
  EXPECT_EQ(resident.usage().hashedBytes, hashed) << "hashed for each recovery and each refresh";
  cache.put(cache.ref, good());
  EXPECT_TRUE(resident.admit(cache.ref, later)) << "it is valid again at once";
}

TEST_F(ResidentTest, StopsServingWhatWasRevoked) {
  auto settings = cache.settings();
  settings.revoked = cache.path("revoked");
  writeBytes(*settings.revoked, "# none yet\n", 0644);
  Cache revoking(settings, ::geteuid());
  ASSERT_TRUE(revoking.refresh({cache.ref}).at(0).resident);
  ASSERT_FALSE(revoking.refresh({cache.ref}).at(0).examined);
  writeBytes(*settings.revoked, "sha256:" + toHex(Sha256::of(good())) + "\n", 0644);
  const auto entries = revoking.refresh({cache.ref});
  ASSERT_FALSE(entries.at(0).result);
  EXPECT_EQ(entries.at(0).result.error().reason, Reason::revoked);
  EXPECT_FALSE(entries.at(0).resident);
  EXPECT_EQ(*revoking.resident(cache.ref), nullptr);
}

/// A cache with a revocation list that the test writes.
struct RevokingTest : ResidentTest {
  RevokingTest() {
    settings.revoked = cache.path("revoked");
    revoke("# none yet\n");
  }
  void revoke(const std::string& text) const { writeBytes(*settings.revoked, text, 0644); }
  config::CacheSettings settings = cache.settings();
  std::string digest = toHex(Sha256::of(good()));
};

TEST_F(RevokingTest, OtherBytesOfTheSameVersionReplaceRevokedOnes) {
  Cache revoking(settings, ::geteuid());
  ASSERT_TRUE(revoking.refresh({cache.ref}).at(0).resident);
  const auto other = test::program("elf-static");
  cache.put(cache.ref, other);
  revoke(digest + "\n");
  ASSERT_TRUE(revoking.refresh({cache.ref}).at(0).result);
  const auto served = revoking.resident(cache.ref);
  ASSERT_TRUE(served && *served != nullptr);
  EXPECT_EQ((*served)->digest, toHex(Sha256::of(other))) << "the revoked copy must not serve";
  EXPECT_EQ(revoking.usage().residents, 1U);
  EXPECT_EQ(revoking.usage().residentBytes, other.size());
}

TEST_F(RevokingTest, ARevokedCopyIsDroppedEvenIfTheFileIsRefusedForAnotherReason) {
  Cache revoking(settings, ::geteuid());
  ASSERT_TRUE(revoking.refresh({cache.ref}).at(0).resident);
  writeBytes(cache.file(cache.ref.fileName()), "#!/bin/sh\n");
  revoke(digest + "\n");
  const auto entries = revoking.refresh({cache.ref});
  EXPECT_EQ(entries.at(0).result.error().reason, Reason::not_elf);
  EXPECT_FALSE(entries.at(0).resident);
  EXPECT_EQ(*revoking.resident(cache.ref), nullptr);
}

TEST_F(RevokingTest, AMalformedListAdmitsNothingNewAndIsReported) {
  Cache revoking(settings, ::geteuid());
  ASSERT_TRUE(revoking.refresh({cache.ref}).at(0).resident);
  EXPECT_FALSE(revoking.trust().revocations);
  revoke("# one\nnot a digest\n");
  const BinaryRef fresh{"cart", "1.0.0"};
  cache.put(fresh, good());
  const auto entries = revoking.refresh({cache.ref, fresh});
  EXPECT_TRUE(entries.at(0).resident) << "earlier admissions stay valid";
  EXPECT_NE(*revoking.resident(cache.ref), nullptr);
  EXPECT_EQ(entries.at(1).result.error().reason, Reason::invalid);
  EXPECT_FALSE(entries.at(1).resident);
  EXPECT_EQ(revoking.admit(fresh).error().reason, Reason::invalid);
  ASSERT_TRUE(revoking.trust().revocations);
  EXPECT_EQ(revoking.trust().revocations->context.find(*settings.revoked + ":2: "), 0U)
      << revoking.trust().revocations->message();
  EXPECT_FALSE(revoking.trust().keyring);
  revoke("# one\n" + std::string(64, 'a') + "  build-farm/checkout\r\n");
  EXPECT_TRUE(revoking.refresh({cache.ref, fresh}).at(1).resident);
  EXPECT_FALSE(revoking.trust().revocations);
}

TEST_F(ResidentTest, StopsServingWhenItsKeyIsRemoved) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).resident);
  // An unreadable keyring does not distrust the key: an outage must not lose admitted binaries.
  writeBytes(cache.path("keys/torn.pub"), "-----BEGIN", 0644);
  EXPECT_FALSE(resident.refresh({cache.ref}).at(0).result);
  ASSERT_NE(*resident.resident(cache.ref), nullptr);
  fs::remove(cache.path("keys/torn.pub"));
  fs::remove(cache.path("keys/one.pub"));
  const auto entries = resident.refresh({cache.ref});
  ASSERT_FALSE(entries.at(0).result);
  EXPECT_EQ(entries.at(0).result.error().reason, Reason::keyring_invalid);
  EXPECT_EQ(*resident.resident(cache.ref), nullptr);
}

TEST_F(ResidentTest, StopsServingWhenItsKeyIsLimitedToThePast) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).resident);
  cache.addKey("one", cache.key, "fallbackd-not-after: 2020-01-01\n");
  const auto entries = resident.refresh({cache.ref});
  EXPECT_EQ(entries.at(0).result.error().reason, Reason::expired);
  EXPECT_FALSE(entries.at(0).resident);
}

TEST_F(ResidentTest, ExpiresWithItsKey) {
  cache.addKey("one", cache.key,
               "For people: the build farm's key\nfallbackd-not-after: 2199-01-01T12:00:00Z\n");
  auto statement = SignedCache::statementFor(cache.ref, good());
  statement.expires = *parseDate("2200-01-01");
  cache.put(cache.ref, good(), statement, cache.key);
  ASSERT_TRUE(resident.admit(cache.ref));
  EXPECT_EQ((*resident.resident(cache.ref))->expires, *parseDate("2199-01-01T12:00:00Z"));
}

TEST_F(ResidentTest, ReadsNothingAgainIfNothingChanged) {
  EXPECT_TRUE(resident.refresh({cache.ref}).at(0).examined);
  EXPECT_FALSE(resident.refresh({cache.ref}).at(0).examined);
  cache.put(cache.ref, test::program("elf-static"));
  const auto entries = resident.refresh({cache.ref});
  EXPECT_TRUE(entries.at(0).examined);
  ASSERT_TRUE(entries.at(0).result);
  EXPECT_FALSE((*entries.at(0).result)->form.pie);
}

TEST_F(ResidentTest, DropsUnwantedAndExpiredCopies) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).result);
  EXPECT_FALSE(resident.resident(cache.ref, Clock::system().wall() + 48h)) << "it has expired";
  ASSERT_TRUE(resident.refresh({}).empty());
  EXPECT_EQ(*resident.resident(cache.ref), nullptr);
}

TEST_F(ResidentTest, OverTheBudgetNothingIsKeptButAdmissionWorks) {
  auto settings = cache.settings();
  settings.memoryBudgetBytes = 10;
  Cache small(settings, ::geteuid());
  ASSERT_TRUE(small.admit(cache.ref));
  const auto entries = small.refresh({cache.ref});
  EXPECT_TRUE(entries.at(0).result);
  EXPECT_FALSE(entries.at(0).resident);
  EXPECT_EQ(*small.resident(cache.ref), nullptr);
  const auto hashed = small.usage().hashedBytes;
  EXPECT_FALSE(small.refresh({cache.ref}).at(0).examined) << "nor is it read repeatedly";
  EXPECT_EQ(small.usage().hashedBytes, hashed);
  EXPECT_EQ(small.usage().residentBytes, 0U);
  fs::remove(cache.file(cache.ref.fileName()));
  EXPECT_FALSE(small.refresh({cache.ref}).at(0).result);
  EXPECT_FALSE(small.refresh({cache.ref}).at(0).result) << "no copy remains";
}

/// Binaries of one size, and a memory budget for some of them.
struct ResidentBudgetTest : ResidentTest {
  ResidentBudgetTest() {
    for (const auto& ref : {cart, shop}) cache.put(ref, good());
  }
  [[nodiscard]] config::CacheSettings roomFor(std::size_t binaries) const {
    auto settings = cache.settings();
    settings.memoryBudgetBytes = binaries * good().size() + 10;
    return settings;
  }
  static ino_t inodeOf(const Result<AdmittedPtr>& copy) {
    struct stat info {};
    EXPECT_TRUE(copy);
    EXPECT_EQ(::fstat((*copy)->executable.get(), &info), 0);
    return info.st_ino;
  }
  BinaryRef cart{"cart", "1.0.0"};
  BinaryRef shop{"shop", "1.0.0"};
  Wall::time_point now = Clock::system().wall();
};

TEST_F(ResidentBudgetTest, CallersOverTheBudgetShareOneCopy) {
  Cache none(roomFor(0), ::geteuid());
  auto one = none.admit(cache.ref);
  auto two = none.admit(cache.ref);
  EXPECT_EQ(inodeOf(one), inodeOf(two));
  EXPECT_EQ(none.usage().hashedBytes, good().size());
  EXPECT_EQ(none.usage().residents, 0U);
  one = two;
  two = AdmittedPtr();
  EXPECT_EQ(*none.admit(cache.ref), *one) << "a caller still holds the copy";
  one = AdmittedPtr();
  ASSERT_TRUE(none.admit(cache.ref));
  EXPECT_EQ(none.usage().hashedBytes, 2 * good().size()) << "no caller held the copy";
}

TEST_F(ResidentBudgetTest, AHeldCopyIsKnownEvenAfterARefreshDropsIt) {
  Cache one(roomFor(1), ::geteuid());
  ASSERT_TRUE(one.refresh({cache.ref}).at(0).resident);
  const auto held = one.admit(cart);
  ASSERT_TRUE(one.refresh({}).empty());
  EXPECT_EQ(inodeOf(one.admit(cart)), inodeOf(held));
  const auto hashed = one.usage().hashedBytes;
  EXPECT_TRUE(one.refresh({}, now, {cart}).at(0).resident);
  EXPECT_EQ(one.usage().hashedBytes, hashed) << "the copy becomes resident without being hashed again";
}

TEST_F(ResidentBudgetTest, AChangedFileIsNeverServedFromACopyThatIsHeld) {
  Cache none(roomFor(0), ::geteuid());
  const auto held = none.admit(cache.ref);
  ASSERT_TRUE(held);
  const auto other = test::program("elf-static");
  cache.put(cache.ref, other);
  const auto next = none.admit(cache.ref);
  ASSERT_TRUE(next);
  EXPECT_EQ((*next)->digest, toHex(Sha256::of(other)));
  EXPECT_NE(inodeOf(next), inodeOf(held));
  writeBytes(cache.file(cache.ref.fileName()), "#!/bin/sh\n");
  EXPECT_EQ(none.admit(cache.ref).error().reason, Reason::not_elf);
}

TEST_F(ResidentBudgetTest, AHeldCopyIsJudgedForEachCaller) {
  Cache none(roomFor(0), ::geteuid());
  const auto held = none.admit(cache.ref);
  ASSERT_TRUE(held);
  EXPECT_EQ(none.admit(cache.ref, now + 48h).error().reason, Reason::expired);
  ASSERT_TRUE(VersionFloor::open(cache.path("state"))->raise({cache.ref.name, "1.9.0"}));
  EXPECT_EQ(none.admit(cache.ref).error().reason, Reason::version_rollback);
  EXPECT_TRUE(none.admit(cache.ref, now, NamedBy::configuration));
}

TEST_F(ResidentBudgetTest, StricterSettingsCountForACopyThatIsHeld) {
  Cache none(roomFor(0), ::geteuid());
  const auto held = none.admit(cache.ref);
  ASSERT_TRUE(held);
  auto settings = roomFor(0);
  settings.threshold = 2;
  none.reconfigure(settings);
  EXPECT_EQ(none.admit(cache.ref).error().reason, Reason::threshold_not_met);
}

TEST_F(ResidentBudgetTest, ACopyForOthersThatIsHeldMovesTheFloorWhenTheConfigurationNamesIt) {
  Cache none(roomFor(0), ::geteuid());
  const auto held = none.admit(cache.ref);
  ASSERT_TRUE(held);
  ASSERT_TRUE(none.admit(cache.ref, now, NamedBy::configuration));
  EXPECT_EQ(VersionFloor::open(cache.path("state"))->of(cache.ref.name), cache.ref.version);
}

TEST_F(ResidentBudgetTest, ACopyThatRaisedTheFloorStaysTheConfigurationsWhenShared) {
  Cache none(roomFor(0), ::geteuid());
  const auto held = none.admit(cache.ref, now, NamedBy::configuration);
  ASSERT_TRUE(held);
  ASSERT_EQ(inodeOf(none.admit(cache.ref)), inodeOf(held));
  EXPECT_EQ(inodeOf(none.admit(cache.ref, now, NamedBy::configuration)), inodeOf(held));
}

TEST_F(ResidentBudgetTest, ACopyThatIsHeldAndGivenUpIsReplaced) {
  Cache none(roomFor(0), ::geteuid());
  const auto held = none.admit(cache.ref);
  ASSERT_TRUE(held);
  none.giveUp(*held);
  EXPECT_NE(inodeOf(none.admit(cache.ref)), inodeOf(held));
}

TEST_F(ResidentBudgetTest, ChosenBinariesMakeWayForConfiguredOnes) {
  Cache one(roomFor(1), ::geteuid());
  ASSERT_TRUE(one.refresh({}, now, {cart}).at(0).resident);
  const auto entries = one.refresh({shop}, now, {cart});
  EXPECT_TRUE(entries.at(0).resident);
  EXPECT_TRUE(entries.at(1).result) << "it is still admitted";
  EXPECT_FALSE(entries.at(1).resident);
  EXPECT_EQ(*one.resident(cart), nullptr);
  EXPECT_EQ(one.usage().residentBytes, good().size());
  const auto hashed = one.usage().hashedBytes;
  EXPECT_FALSE(one.refresh({shop}, now, {cart}).at(1).examined);
  EXPECT_EQ(one.usage().hashedBytes, hashed);
  EXPECT_TRUE(one.refresh({}, now, {cart}).at(0).resident) << "there is room again";
}

TEST_F(ResidentBudgetTest, TheLastChosenBinaryMakesWayOnlyIfThatIsEnough) {
  const BinaryRef big{"big", "1.0.0"};
  cache.put(big, good() + std::string(2 * good().size(), 'x'));
  Cache two(roomFor(2), ::geteuid());
  for (const auto& entry : two.refresh({}, now, {shop, cart})) ASSERT_TRUE(entry.resident);
  auto entries = two.refresh({big}, now, {shop, cart});
  EXPECT_TRUE(entries.at(0).result);
  EXPECT_FALSE(entries.at(0).resident);
  EXPECT_TRUE(entries.at(1).resident && entries.at(2).resident);
  entries = two.refresh({cache.ref}, now, {shop, cart});
  EXPECT_TRUE(entries.at(0).resident && entries.at(1).resident);
  EXPECT_FALSE(entries.at(2).resident);
}

TEST_F(ResidentBudgetTest, ConfiguredBinariesNeverMakeWay) {
  Cache one(roomFor(1), ::geteuid());
  ASSERT_TRUE(one.refresh({}, now, {shop}).at(0).resident);
  const auto entries = one.refresh({cart, shop});
  EXPECT_FALSE(entries.at(0).resident);
  EXPECT_TRUE(entries.at(1).resident) << "a pod chose it first";
}

TEST_F(ResidentBudgetTest, WhatDidNotFitIsKeptOnceThereIsRoom) {
  Cache one(roomFor(1), ::geteuid());
  const auto entries = one.refresh({cart, shop});
  EXPECT_TRUE(entries.at(0).resident);
  EXPECT_FALSE(entries.at(1).resident);
  EXPECT_FALSE(one.refresh({cart, shop}).at(1).examined) << "there is no room";
  EXPECT_TRUE(one.refresh({shop}).at(0).resident);
}

TEST_F(ResidentTest, StricterSettingsCountBeforeAnythingIsAdmittedAgain) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).resident);
  auto settings = cache.settings();
  settings.threshold = 2;
  resident.reconfigure(settings);
  EXPECT_EQ(*resident.resident(cache.ref), nullptr) << "at once";
  EXPECT_EQ(resident.admit(cache.ref).error().reason, Reason::threshold_not_met) << "before any refresh";
  EXPECT_EQ(resident.usage().residents, 0U);
  resident.reconfigure(cache.settings());
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).resident);
  resident.reconfigure(settings);
  resident.reconfigure(cache.settings());
  EXPECT_NE(*resident.resident(cache.ref), nullptr)
      << "the stricter settings were withdrawn before a refresh applied them";
}

/// A longer grace period is for outages, when the cache's files may be missing.
TEST_F(ResidentTest, LooserSettingsTakeNoCopyAway) {
  ASSERT_TRUE(resident.refresh({cache.ref}).at(0).resident);
  auto settings = cache.settings();
  settings.expiryGrace = 48h;
  settings.memoryBudgetBytes *= 2;
  const auto later = Clock::system().wall() + 25h;
  ASSERT_FALSE(resident.resident(cache.ref, later)) << "it has expired";
  fs::rename(cache.file(cache.ref.fileName()), cache.path("elsewhere"));
  resident.reconfigure(settings);
  ASSERT_FALSE(resident.refresh({cache.ref}, later).at(0).result);
  EXPECT_NE(*resident.resident(cache.ref, later), nullptr);
  fs::rename(cache.path("elsewhere"), cache.file(cache.ref.fileName()));
  const auto entries = resident.refresh({cache.ref}, later);
  ASSERT_TRUE(entries.at(0).examined);
  EXPECT_TRUE((*entries.at(0).result)->inGrace);
}

}  // namespace
}  // namespace fallbackd::cache
