// SPDX-License-Identifier: Apache-2.0
#include "cache/cache.hpp"

#include "cache/admission.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <set>
#include <utility>

namespace fallbackd::cache {

namespace {

/// Reasons that may be found only after reading the whole file, and that depend on its evidence alone.
/// version_mismatch: Go's linker may have written a different version into it.
bool isAboutBytes(Reason reason) {
  constexpr std::array kReasons{Reason::digest_mismatch,      Reason::elf_malformed,
                                Reason::elf_wrong_machine,    Reason::elf_dynamic,
                                Reason::elf_writable_code,    Reason::elf_not_pie,
                                Reason::elf_executable_stack, Reason::version_mismatch};
  return std::find(kReasons.begin(), kReasons.end(), reason) != kReasons.end();
}

/// Whether a later change would be visible: file times have the granularity of a clock tick.
bool isSettled(const Evidence& evidence, Wall::time_point now) {
  constexpr std::chrono::seconds kGrain{3};  // one of them for the fraction
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now.time_since_epoch());
  return evidence.binary.changedSeconds <= (seconds - kGrain).count();
}

/// Whether everything that was admitted before is still admitted. A setting that is not known here counts as
/// tighter.
bool onlyLoosens(config::CacheSettings before, const config::CacheSettings& after) {
  before.threshold = std::min(before.threshold, after.threshold);
  before.expiryGrace = std::max(before.expiryGrace, after.expiryGrace);
  before.requirePie = before.requirePie && after.requirePie;
  before.memoryBudgetBytes = std::max(before.memoryBudgetBytes, after.memoryBudgetBytes);
  if (!after.revoked) before.revoked.reset();
  before.rollbacks = after.rollbacks;  // only for choosers; their copies are judged again in any case
  return before == after;
}

bool differInRollbacksOnly(config::CacheSettings before, const config::CacheSettings& after) {
  before.rollbacks = after.rollbacks;
  return before == after;
}

}  // namespace

bool Admitted::mayBeChosenIn(const std::string& podNamespace) const {
  return !namespaces || std::find(namespaces->begin(), namespaces->end(), podNamespace) != namespaces->end();
}

struct Cache::State {
  explicit State(config::CacheSettings settings, AdmissionOptions options)
      : admission(std::move(settings), std::move(options)) {}

  struct Resident {
    AdmittedPtr admitted;
    Evidence evidence;
    bool kept = true;    // false: valid, but over the budget and without its bytes
    bool judged = true;  // by the current settings
    NamedBy namedBy = NamedBy::configuration;
  };

  std::mutex admitting;  // one admission at a time: it reads and hashes whole files, and writes the floor
  Admission admission;   // its settings change under both mutexes

  struct NewSettings {
    config::CacheSettings settings;
    bool loosen = false;  // they only loosen
  };

  /// A copy that may be in use, resident or not.
  struct Lent {
    std::weak_ptr<const Admitted> copy;
    Evidence evidence;
    NamedBy namedBy = NamedBy::configuration;
  };

  mutable std::mutex guard;  // for the seven members below; held briefly
  std::map<BinaryRef, Resident> residents;
  std::map<BinaryRef, Lent> lent;
  std::set<BinaryRef> named;      // by the configuration
  std::vector<BinaryRef> chosen;  // by pods, in their order
  Trust trust;
  std::vector<RolledBack> rolledBack;
  std::optional<NewSettings> next;  // not applied yet

  struct Refusal {
    Evidence evidence;
    Error error;
  };
  std::map<BinaryRef, Refusal> refusals;  // under `admitting`

  std::uint64_t residentBytes() const {
    std::uint64_t sum = 0;
    for (const auto& [ref, resident] : residents) sum += resident.kept ? resident.admitted->size : 0;
    return sum;
  }

  /// A refusal is remembered while the files are unchanged, so that refused bytes are not hashed again for
  /// each of a hundred pods, or every half minute.
  Result<Admitted> admitOnce(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy,
                             Evidence& evidence) {
    const auto onDisk = admission.look(ref);
    if (const auto known = refusals.find(ref); known != refusals.end()) {
      if (onDisk && *onDisk == known->second.evidence) return tl::unexpected<Error>(known->second.error);
      refusals.erase(known);
    }
    auto admitted = admission.admit(ref, now, namedBy, &evidence);
    if (!admitted && onDisk && isAboutBytes(admitted.error().reason) && isSettled(*onDisk, now)) {
      refusals.emplace(ref, Refusal{*onDisk, admitted.error()});
    }
    return admitted;
  }

  /// Drops copies below the raised floor that only annotations or command lines named.
  void dropBelow(const BinaryRef& floor) {
    std::erase_if(residents, [&](const auto& one) {
      const bool below =
          one.first.name == floor.name && compareVersions(one.first.version, floor.version) < 0;
      return below && one.second.namedBy == NamedBy::others && !named.contains(one.first);
    });
  }

  /// Its position among the binaries that pods choose; all others come after them.
  std::size_t placeOf(const BinaryRef& ref) const {
    return static_cast<std::size_t>(std::find(chosen.begin(), chosen.end(), ref) - chosen.begin());
  }

  /// Whether its copy makes way for a binary that the configuration names.
  bool makesWay(const BinaryRef& ref, const Resident& resident) const {
    const bool others = resident.namedBy == NamedBy::others || placeOf(ref) < chosen.size();
    return resident.kept && others && !named.contains(ref);
  }

  /// Whether the budget has room for it beside the other copies that do not make way for it.
  bool fits(const BinaryRef& ref, std::uint64_t size, NamedBy namedBy) const {
    std::uint64_t sum = size;
    for (const auto& [other, resident] : residents) {
      const bool counts = namedBy == NamedBy::others || !makesWay(other, resident);
      if (resident.kept && counts && other != ref) sum += resident.admitted->size;
    }
    return sum <= admission.settings().memoryBudgetBytes;
  }

  using Copies = std::vector<AdmittedPtr>;

  /// Displaces copies that make way, the last first, until there is room. The caller frees them outside the
  /// lock.
  void makeRoomFor(std::uint64_t size, Copies& displaced) {
    while (residentBytes() + size > admission.settings().memoryBudgetBytes) {
      Resident* last = nullptr;
      std::size_t place = 0;
      for (auto& [ref, resident] : residents) {
        if (!makesWay(ref, resident) || (last != nullptr && placeOf(ref) < place)) continue;
        last = &resident;
        place = placeOf(ref);
      }
      if (last == nullptr) return;
      last->kept = false;
      displaced.push_back(
          std::exchange(last->admitted, std::make_shared<const Admitted>(last->admitted->withoutBytes())));
    }
  }

  /// Under `guard`.
  void keep(const AdmittedPtr& copy, const Evidence& evidence, NamedBy namedBy, Copies& displaced) {
    const auto& ref = copy->ref;
    std::erase_if(lent, [](const auto& one) { return one.second.copy.expired(); });
    // A copy that has raised the floor has done so for all that share it.
    const auto before = lent.find(ref);
    const bool raised = before != lent.end() && before->second.copy.lock() == copy &&
                        before->second.namedBy == NamedBy::configuration;
    lent.insert_or_assign(ref, Lent{copy, evidence, raised ? NamedBy::configuration : namedBy});
    // Only one copy of each binary: an earlier copy may have been revoked meanwhile.
    residents.erase(ref);
    // Over the budget the binary is still valid; it is admitted again once this copy is no longer in use.
    const bool kept = fits(ref, copy->size, namedBy);
    if (kept) makeRoomFor(copy->size, displaced);
    auto known = kept ? copy : std::make_shared<const Admitted>(copy->withoutBytes());
    residents.emplace(ref, Resident{std::move(known), evidence, kept, true, namedBy});
  }

  /// The copy in use if it is still valid, or null. Running fallbacks keep theirs in use: one copy for each
  /// would take unlimited memory, and ending the daemon would free none of it.
  AdmittedPtr shareHeld(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy) {
    Copies displaced;
    Lent known;
    {
      const std::lock_guard lock(guard);
      if (const auto found = lent.find(ref); found != lent.end()) known = found->second;
    }
    const auto copy = known.copy.lock();
    if (!copy) return nullptr;
    // A copy that was admitted for others has not raised the floor yet; others get nothing below the floor.
    if (namedBy == NamedBy::configuration && known.namedBy == NamedBy::others) return nullptr;
    if (namedBy == NamedBy::others && !admission.checkFloor(ref)) return nullptr;
    const auto onDisk = admission.look(ref);
    if (!onDisk || *onDisk != known.evidence) return nullptr;
    if (!admission.checkExpiry(ref, copy->expires, now)) return nullptr;
    const std::lock_guard lock(guard);
    // It may have been given up meanwhile.
    if (!lent.contains(ref)) return nullptr;
    keep(copy, known.evidence, namedBy, displaced);
    return copy;
  }

  Result<AdmittedPtr> admitAndKeep(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy) {
    if (auto held = shareHeld(ref, now, namedBy)) return held;
    Copies displaced;
    Evidence evidence;
    FB_TRY(auto admitted, admitOnce(ref, now, namedBy, evidence));
    auto shared = std::make_shared<const Admitted>(std::move(admitted));
    const std::lock_guard lock(guard);
    if (shared->floor) dropBelow({ref.name, *shared->floor});
    keep(shared, evidence, namedBy, displaced);
    return AdmittedPtr(shared);
  }

  /// Under `admitting`. What was decided by the earlier settings is judged again.
  void applySettings() {
    std::map<BinaryRef, Resident> dropped;  // freed outside the lock: hundreds of megabytes take a while
    const std::lock_guard lock(guard);
    if (!next) return;
    const auto applied = std::move(*next);
    next.reset();
    const auto before = admission.settings();
    admission.reconfigure(applied.settings);
    if (before.rollbacks != applied.settings.rollbacks)
      std::erase_if(residents, [](const auto& one) { return one.second.namedBy == NamedBy::others; });
    if (differInRollbacksOnly(before, applied.settings)) return;
    refusals.clear();
    lent.clear();
    if (!applied.loosen) residents.swap(dropped);
    for (auto& [ref, resident] : residents) resident.judged = false;
  }

  /// Under `admitting`.
  Entry renew(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy) {
    std::optional<Evidence> known;
    AdmittedPtr admitted;
    bool kept = false;
    // A copy that was admitted for others has not raised the floor yet.
    bool settled = namedBy == NamedBy::others;
    {
      const std::lock_guard lock(guard);
      if (const auto found = residents.find(ref); found != residents.end()) {
        settled = found->second.judged && (settled || found->second.namedBy == NamedBy::configuration);
        known = found->second.evidence;
        admitted = found->second.admitted;
        kept = found->second.kept;
        // Without room for it, reading it would change nothing.
        settled = settled && (kept || !fits(ref, admitted->size, namedBy));
      }
    }
    const auto onDisk = admission.look(ref);
    if (settled && known && onDisk && *onDisk == *known && admission.checkExpiry(ref, admitted->expires, now))
      return {ref, admitted, false, kept};
    auto result = admitAndKeep(ref, now, namedBy);
    const bool takenBack = !result && admitted != nullptr && admission.withdrawn(*admitted, now);
    const std::lock_guard lock(guard);
    // Without bytes there is nothing that could keep serving.
    if (takenBack || (!result && admitted != nullptr && !kept)) residents.erase(ref);
    const auto held = residents.find(ref);
    return {ref, std::move(result), true, held != residents.end() && held->second.kept};
  }
};

Cache::Cache(config::CacheSettings settings, uid_t owner) {
  AdmissionOptions options;
  options.owner = owner;
  state_ = std::make_unique<State>(std::move(settings), std::move(options));
}

Cache::~Cache() = default;

void Cache::giveUp(const AdmittedPtr& copy) {
  const std::lock_guard lock(state_->guard);
  std::erase_if(state_->residents, [&](const auto& one) { return one.second.admitted == copy; });
  std::erase_if(state_->lent, [&](const auto& one) { return one.second.copy.lock() == copy; });
}

Result<AdmittedPtr> Cache::resident(const BinaryRef& ref, Wall::time_point now) {
  AdmittedPtr admitted;
  {
    const std::lock_guard lock(state_->guard);
    if (state_->next && !state_->next->loosen) return AdmittedPtr();
    const auto found = state_->residents.find(ref);
    if (found == state_->residents.end() || !found->second.kept) return AdmittedPtr();
    admitted = found->second.admitted;
    FB_CHECK(state_->admission.checkExpiry(ref, admitted->expires, now));
  }
  return admitted;
}

Result<AdmittedPtr> Cache::admit(const BinaryRef& ref, Wall::time_point now, NamedBy namedBy) {
  const std::lock_guard lock(state_->admitting);
  state_->applySettings();
  {
    const std::lock_guard brief(state_->guard);
    if (state_->named.contains(ref)) namedBy = NamedBy::configuration;
  }
  return state_->admitAndKeep(ref, now, namedBy);
}

Cache::Trust Cache::trust() const {
  const std::lock_guard lock(state_->guard);
  return state_->trust;
}

std::vector<Cache::Entry> Cache::refresh(const std::vector<BinaryRef>& wanted, Wall::time_point now,
                                         const std::vector<BinaryRef>& chosen) {
  const std::lock_guard admitting(state_->admitting);
  state_->applySettings();
  auto trust = state_->admission.checkTrust();
  {
    const std::lock_guard lock(state_->guard);
    state_->named = {wanted.begin(), wanted.end()};
    state_->chosen = chosen;
    state_->trust = std::move(trust);
    const auto isDropped = [&](const auto& one) {
      return !state_->named.contains(one.first) &&
             std::find(chosen.begin(), chosen.end(), one.first) == chosen.end();
    };
    std::erase_if(state_->residents, isDropped);
    std::erase_if(state_->refusals, isDropped);
  }
  std::vector<Entry> entries;
  for (const auto& ref : wanted) entries.push_back(state_->renew(ref, now, NamedBy::configuration));
  for (const auto& ref : chosen) {
    if (!state_->named.contains(ref)) entries.push_back(state_->renew(ref, now, NamedBy::others));
  }
  // After the admissions, which may have raised the floor.
  auto rolledBack = state_->admission.rolledBack();
  const std::lock_guard lock(state_->guard);
  state_->rolledBack = std::move(rolledBack);
  return entries;
}

void Cache::reconfigure(config::CacheSettings settings) {
  const std::lock_guard lock(state_->guard);
  state_->next.reset();
  const auto& now = state_->admission.settings();
  if (settings == now) return;
  const bool loosen = onlyLoosens(now, settings);
  state_->next = State::NewSettings{std::move(settings), loosen};
}

std::vector<RolledBack> Cache::rolledBack() const {
  const std::lock_guard lock(state_->guard);
  return state_->rolledBack;
}

Cache::Usage Cache::usage() const {
  const std::lock_guard lock(state_->guard);
  const auto residents = std::count_if(state_->residents.begin(), state_->residents.end(),
                                       [](const auto& one) { return one.second.kept; });
  return {state_->residentBytes(), state_->admission.settings().memoryBudgetBytes,
          static_cast<std::size_t>(residents), state_->admission.hashedBytes()};
}

std::string Cache::takeWarning() {
  const std::lock_guard lock(state_->admitting);
  return state_->admission.takeWarning();
}

}  // namespace fallbackd::cache
