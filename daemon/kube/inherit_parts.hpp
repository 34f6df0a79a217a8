// SPDX-License-Identifier: Apache-2.0
// The parts of inherit(), which have their own files.
#pragma once

#include "kube/environment.hpp"
#include "kube/inherit.hpp"

#include <string>
#include <string_view>

namespace fallbackd::kube {

/// One inheritance in progress.
struct Inheritance {
  const InheritRequest& request;
  const Container& container;
  Inherited& out;

  /// Whether the configuration sets this key of the workload.
  [[nodiscard]] bool given(std::string_view key) const { return request.configured.given.contains(key); }
  [[nodiscard]] std::string pathOf(std::string_view field) const {
    return container.path + "." + std::string(field);
  }
  void note(std::string path, std::string why) const {
    add(std::move(path), std::move(why), NotInherited::Weight::differs);
  }
  void refuse(std::string path, std::string why) const {
    add(std::move(path), std::move(why), NotInherited::Weight::refuses);
  }

 private:
  void add(std::string path, std::string why, NotInherited::Weight weight) const {
    out.notInherited.push_back({std::move(path), std::move(why), weight});
  }
};

void inheritCommand(const Inheritance& to, const ContainerEnvironment& environment);
void inheritVariables(const Inheritance& to, const ContainerEnvironment& environment);
void inheritUser(const Inheritance& to);
void inheritSecurity(const Inheritance& to);
void inheritVolumes(const Inheritance& to, const ContainerEnvironment& environment);
void inheritProbes(const Inheritance& to);
void inheritResources(const Inheritance& to);

}  // namespace fallbackd::kube
