// The version floor: the highest version ever accepted of each name, so that an older, validly signed binary
// cannot be brought back. One small JSON file and a copy of it, each replaced crash-safely and one after the
// other: whatever damages one of them, the other still knows the floor.
#pragma once

#include "base/binary_ref.hpp"
#include "base/error.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace fallbackd::cache {

class VersionFloor {
 public:
  enum class Mode : std::uint8_t { look, keep };

  /// The higher of the file and its copy. One that cannot be read as a floor is reported through `warning`;
  /// with both damaged the floor starts anew: a torn file must not lock the node out. To keep: `folder` is
  /// made where it is missing, and a damaged file is set aside under another name, so that it is not lost
  /// silently either. To look: nothing on disk is touched.
  static Result<VersionFloor> open(const std::string& folder, Mode mode = Mode::keep);

  /// Reason version_rollback where the version is below the floor of its name.
  [[nodiscard]] Result<> check(const BinaryRef& ref) const;
  /// Raises the floor and writes it before it returns. Reason floor_unwritable.
  Result<> raise(const BinaryRef& ref);

  [[nodiscard]] const std::optional<std::string>& warning() const { return warning_; }

 private:
  void readOne(const std::string& name, Mode mode);

  std::string folder_;
  std::map<std::string, std::string> versions_;
  std::optional<std::string> warning_;
};

}  // namespace fallbackd::cache
