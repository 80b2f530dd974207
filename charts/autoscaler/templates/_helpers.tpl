{{/* The labels of everything that is installed. */}}
{{- define "autoscaler.labels" -}}
app.kubernetes.io/name: autoscaler
app.kubernetes.io/part-of: autoscaler
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels by which the pods are found. */}}
{{- define "autoscaler.selector" -}}
app.kubernetes.io/name: autoscaler
app.kubernetes.io/component: controller
{{- end }}

{{/* "true" where the pod half is installed. */}}
{{- define "autoscaler.pods" -}}
{{- if ne .Values.only "nodes" }}true{{ end }}
{{- end }}

{{/* "true" where the node half runs. */}}
{{- define "autoscaler.nodes" -}}
{{- if and (ne .Values.only "pods") (ne .Values.provider "none") }}true{{ end }}
{{- end }}

{{/* "true" where the admission webhook is served. */}}
{{- define "autoscaler.webhook" -}}
{{- if and (include "autoscaler.pods" .) .Values.webhook.enabled }}true{{ end }}
{{- end }}

{{/* The Lease of the leader. */}}
{{- define "autoscaler.lease" -}}
autoscaler{{ with .Values.only }}-{{ . }}{{ end }}
{{- end }}

{{- define "autoscaler.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* The process, as the subject of a binding. */}}
{{- define "autoscaler.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ .Values.serviceAccount.name }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Tells cert-manager where to put the authority in. */}}
{{- define "autoscaler.inject" -}}
{{- if eq .Values.certificates.source "cert-manager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/autoscaler
{{- end }}
{{- end }}

{{/* What the pod half asks for where ScaledObjects are acted on. */}}
{{- define "autoscaler.podRules" -}}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list, watch, patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects/status]
  verbs: [patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects/finalizers]
  verbs: [update]
- apiGroups: [keda.sh]
  resources: [scaledjobs]
  verbs: [list, watch, patch]
- apiGroups: [keda.sh]
  resources: [scaledjobs/status]
  verbs: [patch]
- apiGroups: [keda.sh]
  resources: [scaledjobs/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, delete]
- apiGroups: [keda.sh]
  resources: [triggerauthentications]
  verbs: [list, watch, patch]
- apiGroups: [keda.sh]
  resources: [triggerauthentications/status]
  verbs: [patch]
- apiGroups: [eventing.keda.sh]
  resources: [cloudeventsources]
  verbs: [list, watch, patch]
- apiGroups: [eventing.keda.sh]
  resources: [cloudeventsources/status]
  verbs: [patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch]
{{- if .Values.rbac.scaleAnyKind }}
- apiGroups: ["*"]
  resources: ["*/scale"]
  verbs: [get, update]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
{{- else }}
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get, update]
{{- end }}
{{- range .Values.rbac.scaleTargets }}
- apiGroups: [{{ .group | quote }}]
  resources: {{ toJson .resources }}
  verbs: [get, list, watch]
{{- if not $.Values.rbac.scaleAnyKind }}
- apiGroups: [{{ .group | quote }}]
  resources:
  {{- range .resources }}
  - {{ . }}/scale
  {{- end }}
  verbs: [get, update]
{{- end }}
{{- end }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if include "autoscaler.webhook" . }}
- apiGroups: [""]
  resources: [limitranges]
  verbs: [list]
{{- end }}
{{- end }}
