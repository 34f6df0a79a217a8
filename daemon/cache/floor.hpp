// SPDX-License-Identifier: Apache-2.0
// The version floor: for each name, the version below which only the operator's configuration may run it, so
// that nobody else can bring back an older, validly signed binary. One JSON file and a copy of it, replaced
// crash-safely one after the other: if one is damaged, the other still has the floor. Several processes may
// share the folder: the daemon and fallbackctl.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "domain/binary_ref.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::cache {

/// What a rollback in the configuration does now. It never changes the floor on disk, which only rises: it
/// lowers the version that choosers must reach, while the floor is not above the version that is rolled back.
/// What a chooser runs does not raise the floor: one pod would end the rollback for all others.
enum class RollbackState : std::uint8_t {
  in_effect,
  not_needed,  // the floor is not above what it rolls back to
  passed,      // the floor is above the version it rolls back: it no longer has an effect
};
std::string_view toString(RollbackState state);

class VersionFloor {
 public:
  enum class Mode : std::uint8_t { look, keep };

  static constexpr std::size_t kMaxNames = 65'536;

  /// The higher of the file and its copy. A damaged one is reported through `warning`; if both are damaged,
  /// the floor starts from nothing, because torn files must not lock the node out. A file that exists but
  /// cannot be read, for lack of permission or because it exceeds a limit, is an error: its floor would be
  /// ignored. Mode::keep creates a missing `folder` and sets damaged files aside under another name, so that
  /// they are not lost silently; Mode::look changes nothing on disk.
  static Result<VersionFloor> open(const std::string& folder, Mode mode = Mode::keep,
                                   const Clock& clock = Clock::system());

  using Rollbacks = std::vector<config::Rollback>;

  /// Reason version_rollback if the version is below the floor of its name, or below the version to which a
  /// rollback in effect lowers it.
  [[nodiscard]] Result<> check(const BinaryRef& ref, const Rollbacks& rollbacks = {}) const;
  /// The stored floor; empty if there is none.
  [[nodiscard]] std::optional<std::string> of(const std::string& name) const;
  /// The version that choosers must reach.
  [[nodiscard]] std::optional<std::string> effective(const std::string& name,
                                                     const Rollbacks& rollbacks) const;
  [[nodiscard]] RollbackState stateOf(const config::Rollback& rollback) const;
  /// Raises the floor and writes it before returning, merged with what other processes wrote meanwhile.
  /// Reason floor_unwritable, also beyond kMaxNames.
  Result<> raise(const BinaryRef& ref);

  [[nodiscard]] const std::optional<std::string>& warning() const { return warning_; }

 private:
  Result<> readAll(Mode mode);
  Result<bool> readOne(const std::string& name, Mode mode);
  Result<> write(const std::map<std::string, std::string>& versions) const;
  void warn(const std::string& text);

  const Clock* clock_ = nullptr;
  std::string folder_;
  std::map<std::string, std::string> versions_;
  std::optional<std::string> warning_;
};

}  // namespace fallbackd::cache
