#include "cache/cache.hpp"

#include "cache/admission.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace fallbackd::cache {

struct Cache::State {
  explicit State(config::CacheSettings settings, AdmissionOptions options)
      : admission(std::move(settings), std::move(options)) {}

  struct Resident {
    AdmittedPtr admitted;
    Evidence evidence;
  };

  std::mutex admitting;  // one admission at a time: it reads and hashes whole files, and writes the floor
  Admission admission;

  std::mutex guard;  // of the map below; held briefly
  std::map<BinaryRef, Resident> residents;

  std::uint64_t residentBytes() {
    std::uint64_t sum = 0;
    for (const auto& [ref, resident] : residents) sum += resident.admitted->size;
    return sum;
  }

  Result<AdmittedPtr> admitAndKeep(const BinaryRef& ref, Wall::time_point now) {
    Evidence evidence;
    FB_TRY(auto admitted, admission.admit(ref, now, &evidence));
    auto shared = std::make_shared<const Admitted>(std::move(admitted));
    const std::lock_guard lock(guard);
    residents.erase(ref);
    // Over the budget the binary is still good, it is only admitted anew for each recovery.
    if (residentBytes() + shared->size <= admission.settings().memoryBudgetBytes) {
      residents.emplace(ref, Resident{shared, evidence});
    }
    return AdmittedPtr(shared);
  }
};

Cache::Cache(config::CacheSettings settings, uid_t owner) {
  AdmissionOptions options;
  options.owner = owner;
  state_ = std::make_unique<State>(std::move(settings), std::move(options));
}

Cache::~Cache() = default;

Result<AdmittedPtr> Cache::resident(const BinaryRef& ref, Wall::time_point now) {
  AdmittedPtr admitted;
  {
    const std::lock_guard lock(state_->guard);
    const auto found = state_->residents.find(ref);
    if (found == state_->residents.end()) return AdmittedPtr();
    admitted = found->second.admitted;
  }
  FB_CHECK(state_->admission.checkExpiry(ref, admitted->expires, now));
  return admitted;
}

Result<AdmittedPtr> Cache::admit(const BinaryRef& ref, Wall::time_point now) {
  const std::lock_guard lock(state_->admitting);
  return state_->admitAndKeep(ref, now);
}

std::vector<Cache::Entry> Cache::refresh(const std::vector<BinaryRef>& wanted, Wall::time_point now) {
  const std::lock_guard admitting(state_->admitting);
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(state_->guard);
    std::erase_if(state_->residents, [&](const auto& one) {
      return std::find(wanted.begin(), wanted.end(), one.first) == wanted.end();
    });
  }
  for (const auto& ref : wanted) {
    std::optional<Evidence> known;
    AdmittedPtr admitted;
    {
      const std::lock_guard lock(state_->guard);
      if (const auto found = state_->residents.find(ref); found != state_->residents.end()) {
        known = found->second.evidence;
        admitted = found->second.admitted;
      }
    }
    const auto onDisk = state_->admission.look(ref);
    if (known && onDisk && *onDisk == *known && state_->admission.checkExpiry(ref, admitted->expires, now)) {
      entries.push_back({ref, admitted, false, true});
      continue;
    }
    auto result = state_->admitAndKeep(ref, now);
    const bool takenBack = !result && admitted != nullptr && state_->admission.withdrawn(*admitted, now);
    const std::lock_guard lock(state_->guard);
    if (takenBack) state_->residents.erase(ref);
    entries.push_back({ref, std::move(result), true, state_->residents.contains(ref)});
  }
  return entries;
}

std::string Cache::takeWarning() {
  const std::lock_guard lock(state_->admitting);
  return state_->admission.takeWarning();
}

}  // namespace fallbackd::cache
