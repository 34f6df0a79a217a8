// SPDX-License-Identifier: Apache-2.0
// Kubelet's records of the resources that it applied to a container, by pod uid and container name. They are
// in a file, so that they survive its restart.
#pragma once

#include <filesystem>
#include <mutex>
#include <set>
#include <string>

namespace fallbackd::e2e::model {

/// Thread-safe.
class Records {
 public:
  explicit Records(std::filesystem::path folder);

  [[nodiscard]] bool has(const std::string& uid, const std::string& container) const;
  void add(const std::string& uid, const std::string& container);
  void forget(const std::string& uid);

 private:
  void save() const;

  std::filesystem::path file_;
  mutable std::mutex mutex_;
  std::set<std::string> lines_;  // "UID NAME"; guarded by mutex_
};

}  // namespace fallbackd::e2e::model
