//! The HorizontalPodAutoscaler v2 algorithm of Kubernetes 1.35 as a pure library.
