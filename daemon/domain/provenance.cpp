// SPDX-License-Identifier: Apache-2.0
#include "domain/provenance.hpp"

namespace fallbackd {

std::string_view toString(Provenance provenance) {
  switch (provenance) {
    case Provenance::configuration:
      return "configuration";
    case Provenance::pod_specification:
      return "pod_specification";
    case Provenance::annotation:
      break;
  }
  return "annotation";
}

}  // namespace fallbackd
