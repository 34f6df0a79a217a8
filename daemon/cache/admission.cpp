// SPDX-License-Identifier: Apache-2.0
#include "cache/admission.hpp"

#include "base/strings.hpp"
#include "cache/elf.hpp"
#include "cache/signers.hpp"
#include "sys/file.hpp"
#include "sys/verity.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <functional>
#include <unistd.h>
#include <utility>

namespace fallbackd::cache {

namespace {

constexpr std::size_t kMaxRevoked = 16 << 20;

/// The revocation list is read as carefully as a binary: whoever can change it can let a revoked binary in.
Result<CheckedFile> openRevoked(const std::string& path, uid_t owner) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos || path.front() != '/') {
    return fail(Stage::admission, Reason::unsafe_path, path + " is not an absolute path");
  }
  const auto folder = path.substr(0, slash + 1);
  FB_TRY(const auto dir, openTrusted(folder, owner));
  return openChecked(dir, path.substr(0, slash), path.substr(slash + 1), owner);
}

/// The digest in a line of the revocation list; an empty text if the line has none; nothing if the line is
/// malformed. If malformed lines were skipped, a digest with a typo would still be admitted, and so would a
/// second one on the line.
std::optional<std::string_view> digestOnLine(std::string_view line) {
  line = trim(line.substr(0, line.find('#')));
  if (line.empty()) return line;
  if (line.starts_with("sha256:")) line.remove_prefix(7);
  const auto end = line.find_first_of(" \t");
  const auto digest = line.substr(0, end);
  // sha256sum writes the file's name after the digest.
  const auto rest = split(end == std::string_view::npos ? std::string_view() : line.substr(end), ' ');
  const bool another = std::any_of(rest.begin(), rest.end(), [](std::string_view word) {
    return isSha256(trim(word)) || word.find("sha256:") != std::string_view::npos;
  });
  if (!isSha256(digest) || another) return std::nullopt;
  return digest;
}

/// Checks name, version and system: the statement must be about exactly this binary, for this node.
Result<> checkIdentity(const Statement& statement, const BinaryRef& ref, const std::string& path) {
  const auto mismatch = [&](Reason reason, const std::string& said, const std::string& wanted) {
    return fail(Stage::admission, reason,
                path + " is attested as " + quoted(said) + ", not as " + quoted(wanted));
  };
  if (statement.ref.name != ref.name) return mismatch(Reason::name_mismatch, statement.ref.name, ref.name);
  if (statement.ref.version != ref.version) {
    return mismatch(Reason::version_mismatch, statement.ref.version, ref.version);
  }
  if (statement.os != "linux") return mismatch(Reason::os_mismatch, statement.os, "linux");
  if (statement.arch != nodeArchitecture()) {
    return mismatch(Reason::arch_mismatch, statement.arch, std::string(nodeArchitecture()));
  }
  if (statement.minimumVersion && compareVersions(ref.version, *statement.minimumVersion) < 0) {
    return fail(
        Stage::admission, Reason::version_rollback,
        ref.toString() + " is below its own attestation's minimum version " + *statement.minimumVersion);
  }
  return {};
}

/// The time until which at least `threshold` of the signing keys count. Reasons untrusted_key,
/// threshold_not_met if too few count now.
Result<Wall::time_point> signedUntil(const Keyring& keyring, const std::vector<std::size_t>& keys,
                                     unsigned threshold, Wall::time_point now) {
  std::vector<Wall::time_point> ends;
  std::string early;
  for (const auto index : keys) {
    const auto& entry = keyring.entries().at(index);
    if (entry.notBefore <= now) {
      ends.push_back(entry.notAfter);
    } else {
      early.append("; " + entry.file + " counts only from " + rfc3339(entry.notBefore));
    }
  }
  if (ends.size() < threshold) {
    return fail(Stage::admission, ends.empty() ? Reason::untrusted_key : Reason::threshold_not_met,
                std::to_string(ends.size()) + " of " + std::to_string(threshold) + " keys count now" + early +
                    "; is this node's clock right?");
  }
  std::sort(ends.begin(), ends.end(), std::greater<>());
  return ends.at(threshold - 1);
}

}  // namespace

Result<std::set<std::string>> Admission::revoked() const {
  std::set<std::string> digests;
  if (!settings_.revoked) return digests;
  // A configured list that cannot be read must not count as an empty one.
  FB_TRY(const auto list, openRevoked(*settings_.revoked, options_.owner));
  FB_TRY(const auto text, sys::readAll(Stage::admission, list.fd, kMaxRevoked, *settings_.revoked));
  std::size_t number = 0;
  for (const auto raw : split(text, '\n')) {
    ++number;
    const auto digest = digestOnLine(raw);
    if (!digest) {
      return fail(Stage::admission, Reason::invalid,
                  *settings_.revoked + ":" + std::to_string(number) + ": " + quoted(trim(raw)) +
                      " is not one sha256 digest in 64 lower-case hexadecimal digits");
    }
    if (!digest->empty()) digests.emplace(*digest);
  }
  return digests;
}

Result<VersionFloor> Admission::openFloor() {
  const bool keep = options_.floor == FloorUse::raise;
  if (keep) FB_CHECK(sys::makeDirs(Stage::admission, settings_.state, 0755));
  // Whoever can change the floor can bring an older binary back. fallbackctl exec may run as a user other
  // than the cache's owner, and then keeps its own floor.
  for (const auto owner : {options_.owner, ::geteuid()}) {
    const auto folder = openTrusted(settings_.state, owner);
    if (folder || folder.error().reason == Reason::not_found) break;
    if (owner == ::geteuid()) return tl::unexpected<Error>(folder.error());
  }
  FB_TRY(auto floor,
         VersionFloor::open(settings_.state, keep ? VersionFloor::Mode::keep : VersionFloor::Mode::look));
  const auto said = floor.warning().value_or("");
  if (!said.empty() && said != lastWarning_) warning_ = said;
  lastWarning_ = said;
  return floor;
}

Result<std::vector<FileFacts>> Admission::lookAtTrust() const {
  FB_TRY(auto facts, Keyring::look(settings_.keys, options_.owner));
  if (settings_.revoked) {
    FB_TRY(const auto list, openRevoked(*settings_.revoked, options_.owner));
    facts.push_back(list.facts);
  }
  return facts;
}

bool Admission::withdrawn(const Admitted& admitted, Wall::time_point now) const {
  const auto digests = revoked();
  if (digests && digests->contains(admitted.digest)) return true;
  const auto keyring = Keyring::read(settings_.keys, options_.owner);
  if (!keyring) return false;
  const auto left =
      std::count_if(keyring->entries().begin(), keyring->entries().end(), [&](const Keyring::Entry& entry) {
        const bool over = later(entry.notAfter, settings_.expiryGrace) <= now;
        return !over && std::find(admitted.keys.begin(), admitted.keys.end(), entry.key.fingerprintHex()) !=
                            admitted.keys.end();
      });
  return static_cast<std::size_t>(left) < settings_.threshold;
}

Result<Evidence> Admission::look(const BinaryRef& ref) const {
  FB_TRY(const auto dir, openTrusted(settings_.path, options_.owner));
  Evidence evidence;
  FB_TRY(const auto binary, openChecked(dir, settings_.path, ref.fileName(), options_.owner));
  evidence.binary = binary.facts;
  FB_TRY(const auto attestations, openAttestations(dir, settings_.path, ref, options_.owner));
  for (const auto& file : attestations) evidence.attestations.push_back(file.facts);
  FB_TRY(evidence.trust, lookAtTrust());
  return evidence;
}

Result<bool> Admission::checkExpiry(const BinaryRef& ref, Wall::time_point expires,
                                    Wall::time_point now) const {
  if (now < expires) return false;
  if (now < later(expires, settings_.expiryGrace)) return true;
  return fail(Stage::admission, Reason::expired,
              ref.toString() + " expired at " + rfc3339(expires) +
                  "; sign it again with a later date, or with a key that still counts");
}

Result<> Admission::checkFloor(const BinaryRef& ref) {
  if (options_.floor == FloorUse::ignore) return {};
  FB_TRY(const auto floor, openFloor());
  return floor.check(ref, settings_.rollbacks);
}

std::vector<RolledBack> Admission::rolledBack() {
  std::vector<RolledBack> all;
  if (settings_.rollbacks.empty()) return all;
  const auto floor = openFloor();
  for (const auto& one : settings_.rollbacks) {
    // Without a floor nothing is admitted; other messages report that.
    if (floor) all.push_back({one, floor->of(one.from.name), floor->stateOf(one)});
  }
  return all;
}

Cache::Trust Admission::checkTrust() const {
  Cache::Trust trust;
  if (auto keyring = Keyring::open(settings_.keys, options_.owner); !keyring)
    trust.keyring = std::move(keyring.error());
  if (auto list = revoked(); !list) trust.revocations = std::move(list.error());
  return trust;
}

Result<Admitted> Admission::admit(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy,
                                  Evidence* evidence) {
  FB_TRY(const auto dir, openTrusted(settings_.path, options_.owner));
  FB_TRY(const auto binary, openChecked(dir, settings_.path, ref.fileName(), options_.owner));
  if (binary.facts.size > kMaxBinaryBytes) {
    return fail(Stage::admission, Reason::too_large, binary.path + " has more than 2 GiB");
  }
  std::array<std::byte, 4> magic{};
  if (::pread(binary.fd.get(), magic.data(), magic.size(), 0) != 4 || !hasElfMagic(magic)) {
    return fail(Stage::admission, Reason::not_elf, binary.path + ": not an ELF program (a script?)");
  }

  FB_TRY(const auto attestations, openAttestations(dir, settings_.path, ref, options_.owner));
  if (attestations.empty()) {
    return fail(Stage::admission, Reason::attestation_missing,
                "no " + settings_.path + "/" + ref.attestationName() + "; make one with fallbackctl sign");
  }
  // Recorded before it is read: a change in between is noticed next time.
  const auto trust = evidence != nullptr ? lookAtTrust() : std::vector<FileFacts>();
  FB_TRY(const auto keyring, Keyring::open(settings_.keys, options_.owner));
  FB_TRY(const auto verified, verifySigners(attestations, ref, keyring, settings_.threshold));
  const auto& statement = verified.statement;
  FB_CHECK(checkIdentity(statement, ref, binary.path));
  // A signature expires with its key.
  FB_TRY(const auto keysEnd, signedUntil(keyring, verified.keys, settings_.threshold, now));
  const auto expires = std::min(statement.expires, keysEnd);
  FB_TRY(const bool inGrace, checkExpiry(ref, expires, now));
  FB_TRY(const auto revokedDigests, revoked());
  if (revokedDigests.contains(statement.digest)) {
    return fail(Stage::admission, Reason::revoked,
                ref.toString() + " has the revoked digest " + statement.digest);
  }
  std::optional<VersionFloor> floor;
  if (options_.floor != FloorUse::ignore) {
    FB_TRY(floor, openFloor());
    if (namedBy == NamedBy::others) FB_CHECK(floor->check(ref, settings_.rollbacks));
  }

  FB_TRY(auto copy, SealedCopy::make(binary.fd, binary.facts.size, ref.fileName(), options_.seal));
  hashedBytes_ += binary.facts.size;
  const auto digest = toHex(copy.digest());
  if (digest != statement.digest) {
    return fail(Stage::admission, Reason::digest_mismatch,
                binary.path + " has sha256 " + digest + ", but its attestation says " + statement.digest);
  }
  FB_TRY(auto form, inspectElf(copy.bytes(), binary.path));
  if (settings_.requirePie && !form.pie) {
    return fail(Stage::admission, Reason::elf_not_pie,
                binary.path + " is not a static PIE; link with -static-pie");
  }
  if (form.go && contradicts(form.go->moduleVersion, ref.version)) {
    return fail(Stage::admission, Reason::version_mismatch,
                binary.path + " was built as " + form.go->module + " " + form.go->moduleVersion +
                    ", but its attestation says " + ref.version);
  }
  // checkIdentity() has checked that the version is not below its own minimum.
  const auto least = namedBy == NamedBy::configuration ? ref.version : statement.minimumVersion;
  const bool raises = options_.floor == FloorUse::raise && least;
  if (raises) FB_CHECK(floor->raise({ref.name, *least}));

  Admitted admitted;
  admitted.ref = ref;
  admitted.digest = digest;
  for (const auto key : verified.keys) admitted.keys.push_back(keyring.entries()[key].key.fingerprintHex());
  admitted.expires = expires;
  admitted.inGrace = inGrace;
  admitted.namespaces = statement.namespaces;
  admitted.image = statement.image;
  if (raises) admitted.floor = floor->effective(ref.name, settings_.rollbacks);
  admitted.size = binary.facts.size;
  admitted.form = std::move(form);
  admitted.verity = sys::measureVerity(binary.fd);
  admitted.sealMethod = toString(copy.method());
  admitted.executable = copy.takeFd();
  if (evidence != nullptr) {
    evidence->binary = binary.facts;
    evidence->attestations.clear();
    for (const auto& file : attestations) evidence->attestations.push_back(file.facts);
    evidence->trust = trust.value_or(std::vector<FileFacts>());
  }
  return admitted;
}

}  // namespace fallbackd::cache
